"""How long an engine may be silent."""

from __future__ import annotations

import pytest

from skipjoin.core.effects import TurnStats
from skipjoin.serving.door.patience import HANGS_AFTER_S, Patience


def _patience(*steps_ms: float) -> Patience:
    made = Patience(stall_s=15.0, start_stall_s=30.0, rank_stall_s=5.0)
    for ms in steps_ms:
        made.steps.took(TurnStats(0, 0, 1, 0, 1, 0, 0, 0, 0, None, int(ms * 1e6)))
    return made


@pytest.mark.parametrize(
    ("steps_ms", "seconds"),
    [
        ((), 15.0),
        ((20.0,) * 15, 15.0),  # too few to judge by
        ((20.0,) * 100, 5.0),
        ((20.0,) * 95 + (900.0,) * 5, 9.0),
        ((20.0,) * 400 + (900.0,), 5.0),  # one in four hundred is no hundredth
        ((3000.0,) * 50, 15.0),
    ],
)
def test_several_ranks_have_ten_times_their_slow_steps(steps_ms: tuple[float, ...], seconds: float) -> None:
    patience = _patience(*steps_ms)
    assert patience.with_one_that_serves(working=True, ranks=2) == pytest.approx(seconds)
    assert patience.with_one_that_serves(working=True, ranks=1) == 15.0
    assert patience.with_one_that_serves(working=False, ranks=2) == 15.0


def test_a_short_bound_of_the_user_holds_for_ranks_too() -> None:
    patience = Patience(stall_s=1.0, start_stall_s=30.0, rank_stall_s=5.0)
    assert patience.with_one_that_serves(working=True, ranks=2) == 1.0
    assert patience.with_one_that_serves(working=False, ranks=2) == HANGS_AFTER_S


def test_turns_without_a_batch_are_no_steps() -> None:
    patience = _patience(4.0, 8.0, 6.0)
    patience.steps.took(TurnStats(0, 0, 0, 0, 0, 0, 0, 0, 0, None, None))
    assert patience.steps.median_ns == 6_000_000
    assert _patience().steps.median_ns == 0
