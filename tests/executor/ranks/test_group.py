"""The groups of ranks over gloo: who sums with whom, and to whom rows pass."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from skipjoin.core.errors import ExecutorLost
from skipjoin.executor.ranks.grid import Seat
from skipjoin.executor.ranks.group import join
from skipjoin.executor.ranks.meeting import meeting_in

CPU = torch.device("cpu")
ABREAST, STAGES = 2, 3
RANKS = ABREAST * STAGES


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """Of six ranks, in threads of this process."""
    meeting = tmp_path_factory.mktemp("ranks") / "meeting"
    seats = [Seat(rank, ABREAST, STAGES) for rank in range(RANKS)]
    with ThreadPoolExecutor(RANKS) as threads:
        return list(threads.map(lambda seat: join(meeting_in(str(meeting)), seat, CPU, 30.0), seats))


def on_all(groups, work):
    """What it gives on each rank, all at a time."""
    with ThreadPoolExecutor(RANKS) as threads:
        return list(threads.map(work, range(RANKS), groups))


def test_a_rank_knows_its_stage_and_its_place_in_it(groups):
    assert [(group.stage, group.rank) for group in groups] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert {(group.stages, group.ranks) for group in groups} == {(STAGES, ABREAST)}


def test_sums_gatherings_and_what_is_shared_stay_within_a_stage(groups):
    sums = on_all(groups, lambda rank, group: group.sum_(torch.tensor([float(10**rank)])).item())
    assert sums == [11, 11, 1100, 1100, 110_000, 110_000]
    gathered = on_all(groups, lambda rank, group: group.gather(torch.tensor([[rank], [-rank]])).tolist())
    assert gathered[2] == gathered[3] == [[2, 3], [-2, -3]]
    shared = on_all(groups, lambda rank, group: group.share_(torch.tensor([rank])).item())
    assert shared == [0, 0, 2, 2, 4, 4]


def test_rows_go_round_the_stages_each_place_by_itself(groups):
    def round_trip(rank, group):
        if group.stage == 0:
            group.send(torch.full((2, 3), float(rank)))
            return group.receive(torch.empty(1, 3)).tolist()
        rows = group.receive(torch.empty(2, 3))
        last = group.stage == STAGES - 1
        # Not contiguous, as a row of something larger may lie.
        group.send((rows + 10)[:1] if last else (rows + 10).t().contiguous().t())
        return None

    assert on_all(groups, round_trip)[:ABREAST] == [[[20.0] * 3], [[21.0] * 3]]


def test_a_rank_that_never_comes_is_not_waited_for_for_ever(tmp_path):
    with pytest.raises(ExecutorLost, match=r"Rank 1 of 4 did not meet the others within 0\.2 s"):
        join(meeting_in(str(tmp_path / "meeting")), Seat(1, 2, 2), CPU, 0.2)
