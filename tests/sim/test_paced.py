"""The wall-clock form: tokens depend on seed and position only, and its clock really reaches a
time.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.errors import InvalidSettings
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import Handle
from skipjoin.core.plan import Admit, DecodeBatch, IterationPlan, PrefillChunk, no_int32
from skipjoin.core.sampling import SamplingParams
from skipjoin.cost.linear import LinearCostModel
from skipjoin.sim.executor import SimExecutor
from skipjoin.sim.paced import SeededTokens, SleepingClock, paced_executor, seeded_number

COST = LinearCostModel(1e9, 1e6, 0.0, 1e6, 1e6, 1e6)
SAMPLING = SamplingParams(seed=1, max_new_tokens=10)


def _facts(vocab: int = 40) -> ExecutorFacts:
    return ExecutorFacts(1, 10, 10, 16, 100, None, vocab)


def _admit(handle: int, known: int, prompt: int, seed: int) -> Admit:
    return Admit(Handle(handle), no_int32(), known, prompt, Asked(SAMPLING), seed)


def _run(executor: SimExecutor, plan: IterationPlan) -> dict[int, int]:
    executor.submit(plan)
    outcome = executor.poll(None)
    assert outcome is not None
    return dict(zip(outcome.handles.tolist(), outcome.tokens.tolist(), strict=True))


def _stream(executor: SimExecutor, handle: int, count: int) -> list[int]:
    only = DecodeBatch(np.asarray([handle], dtype=np.int64))
    return [_run(executor, IterationPlan(seq, 1, decode=only))[handle] for seq in range(count)]


def test_a_stream_continues_the_same_after_a_restart_and_in_company() -> None:
    first = paced_executor(COST, _facts(), scale=0.0)
    chunk = PrefillChunk(Handle(1), 0, 5, True)
    tokens = [_run(first, IterationPlan(1, 1, admits=(_admit(1, 5, 5, 77),), prefills=(chunk,)))[1]]
    tokens += _stream(first, 1, 9)
    assert len(set(tokens)) > 3
    again = paced_executor(COST, _facts(), scale=0.0)
    plan = IterationPlan(
        1,
        1,
        admits=(_admit(8, 9, 9, 5), _admit(3, 9, 5, 77)),  # job 3: the same job, taken over behind four tokens
        prefills=(PrefillChunk(Handle(8), 0, 9, True), PrefillChunk(Handle(3), 0, 9, True)),
    )
    resumed = [_run(again, plan)[3]]
    both = DecodeBatch(np.asarray([8, 3], dtype=np.int64))
    resumed += [_run(again, IterationPlan(seq, 1, decode=both))[3] for seq in range(2, 7)]
    assert resumed == tokens[4:10]


def test_tokens_lie_in_the_vocabulary_and_avoid_end_tokens() -> None:
    source = SeededTokens(8, frozenset({0, 3}))
    source.admit(Handle(1), 12345, 0)
    drawn = {int(source.draw([1], [position])[0]) for position in range(500)}
    assert drawn == {1, 2, 4, 5, 6, 7}
    source.drop(Handle(1))
    with pytest.raises(KeyError):
        source.draw([1], [0])
    with pytest.raises(InvalidSettings):
        SeededTokens(1, frozenset({0}))


def test_numbers_differ_by_seed_and_by_position() -> None:
    assert len({seeded_number(seed, position) for seed in range(50) for position in range(50)}) == 2500
    assert seeded_number(2**63 - 1, 10) == seeded_number(2**63 - 1, 10)


def test_the_clock_reaches_a_time() -> None:
    clock = SleepingClock()
    target = clock.now_ns() + 2_000_000
    clock.move_to(target)
    assert clock.now_ns() >= target
    clock.move_to(target)  # the past: at once


def test_a_scale_out_of_bounds() -> None:
    for scale in (-0.1, float("nan"), 1e6):
        with pytest.raises(InvalidSettings, match="scale"):
            paced_executor(COST, _facts(), scale=scale)


def test_no_torch_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, skipjoin.sim.paced; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
