"""A rank that ends takes the others with it: the error names that one, and not who noticed it."""

from __future__ import annotations

import pytest

from skipjoin.core.errors import ExecutorLost, InternalError, SkipjoinError
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.outcome import IterationOutcome
from skipjoin.core.plan import IterationPlan
from skipjoin.executor.ranks.channel import Channel, channel_pair
from skipjoin.executor.ranks.leading import OUT_OF_MEMORY, LeadingExecutor
from skipjoin.proto import ranks_pb2 as pb

DEVICE_FAILED = ExecutorLost("The device failed while it computed an iteration.")
PLAN = IterationPlan(seq=1, generation=1)


class Failing:
    """Rank 0's own executor, in a collective that breaks."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def start(self) -> ExecutorFacts:
        raise self._error

    def submit(self, plan: IterationPlan) -> None:
        raise self._error

    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        raise self._error

    def close(self) -> None: ...


def _said(words: list[SkipjoinError | None], error: Exception = DEVICE_FAILED) -> str:
    """What the error is when each rank's last words are these; None: it is killed and says none."""
    pairs = [channel_pair() for _ in words]
    leading = LeadingExecutor(Failing(error), [here for here, _ in pairs], lambda: None)
    ends = [Channel(there) for _, there in pairs]
    for end, said in zip(ends, words, strict=True):
        if said is None:
            end.close()
        else:
            failed = pb.RankFailed(code=said.code, message=said.message)
            end.send(pb.RankFrame(failed=failed).SerializeToString())
    with pytest.raises(ExecutorLost) as lost:
        leading.poll(0)
    leading.close()
    for end in ends:
        end.close()
    return lost.value.message


def test_a_rank_without_memory_is_named_and_not_its_neighbour() -> None:
    assert _said([DEVICE_FAILED, InternalError(OUT_OF_MEMORY)]) == f"Rank 2 ended: {OUT_OF_MEMORY}"


def test_a_rank_that_was_killed_is_named_and_not_its_neighbour() -> None:
    assert _said([DEVICE_FAILED, None]).startswith("Rank 2 is gone")


def test_without_words_of_another_rank_the_error_is_rank_0s() -> None:
    assert _said([]) == DEVICE_FAILED.message
    assert _said([DEVICE_FAILED]) == f"Rank 1 ended: {DEVICE_FAILED.message}"


def test_rank_0_without_memory_is_named() -> None:
    leading = LeadingExecutor(Failing(MemoryError()), [], lambda: None)
    with pytest.raises(ExecutorLost, match=r"^Rank 0 ended: It ran out of memory"):
        leading.submit(PLAN)
    leading.close()
