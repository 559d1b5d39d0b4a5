"""Which rank a process is, by torchrun's variables."""

from __future__ import annotations

import pytest

from skipjoin.core.errors import InvalidSettings
from skipjoin.serving.worker.berth import Berth, berth_of, local_berth, meeting_address

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


def test_torchruns_variables_say_a_berth() -> None:
    assert berth_of(TORCHRUN) == Berth(3, 4, 1, 2)
    assert berth_of({"RANK": "1", "WORLD_SIZE": "2"}) == Berth(1, 2, 0, 1), "alone on its machine"
    assert Berth.of_words(Berth(3, 4, 1, 2).words()) == Berth(3, 4, 1, 2)
    assert local_berth(1, 2) == Berth(1, 2, 1, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("RANK", ""), ("RANK", "4"), ("WORLD_SIZE", "two"), ("LOCAL_RANK", "2"), ("LOCAL_WORLD_SIZE", "5")],
)
def test_a_wrong_one_is_named_with_its_bounds(name: str, value: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        berth_of({**TORCHRUN, name: value})
    assert refused.value.field == name and ".." in (refused.value.limit or "")


def test_where_rank_0_is() -> None:
    master = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "50072"}
    assert meeting_address(master, None) == ("10.0.0.1", 50072)
    assert meeting_address(master, "10.0.0.2:7") == ("10.0.0.2", 7)
    agent = {**master, "TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert meeting_address(agent, "10.0.0.2:7") == ("10.0.0.2", 7)
    with pytest.raises(InvalidSettings, match="torchrun listens at MASTER_PORT itself"):
        meeting_address(agent, None)
    with pytest.raises(InvalidSettings, match="Nothing says where rank 0 is"):
        meeting_address({}, None)
