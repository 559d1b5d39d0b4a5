"""Replayed decodes give the numbers of launched ones. On a CPU a recorder of operations stands for
CUDA's graphs.
"""

from __future__ import annotations

import pytest


@pytest.fixture
def replay(interpreter):
    return lambda case, **arguments: interpreter.ask(f"graph_cases.{case}", device="cpu", **arguments)


def test_a_recording_is_as_strict_as_a_devices(replay):
    replay("recorder_is_honest")


def test_jobs_that_come_grow_and_end(replay):
    """Five at a time, which is more than is recorded, then fewer; one layer with a window, contexts
    that are cut and ones that are not.
    """
    told = replay("same_numbers", manner="together")
    assert sum(count > 0 for count in told["used"]) >= 3, told
    assert 0 < sum(told["used"]) < told["passes"], "passes with chunks or five jobs are launched"


def test_jobs_that_leave_and_come_back_to_other_pages(replay):
    """Beside recordings for which there was no memory, in whose place passes are launched."""
    told = replay("same_numbers", manner="preempted", refused=[2, 3])
    assert len(told["used"]) == 5 and sum(count > 0 for count in told["used"]) >= 2, told


@pytest.mark.parametrize("fault", ["StaleTables", "WritingRows", "FrozenCuts"])
def test_control_a_fault_is_seen(replay, fault):
    replay("fault_is_seen", fault=fault)
