"""How fast virtual time passes, and how soon the command answers: by processor time, in units."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator

from ....core.clock import thread_cpu_ns
from ....core.executor import ExecutorFacts
from ....cost.profiles import load_profile
from ....engine.params import EngineParams
from ....sim.drain import drain_rate
from ....sim.world import Machine, simulate
from ....workload.requests import Workload, make_workload
from ....workload.shape import load_shape
from ...load.server import own_command, own_environment
from ...yardstick import Yardstick
from .timing import Timing, timing_of

TARGETS = {"fcfs": 5.0, "skipjoin": 5.0, "adaptive": 10.0}
"""Units for a simulated second: where a unit is a millisecond, 5 are 200 times as fast as it
passes.
"""
HELP_TARGET = 500.0
RUNS = 3
_PAGE_TOKENS = 16


def measure_pace(requests: int = 600) -> Iterator[Timing]:
    """A line for each policy on the shape of chats, then one for the command."""
    machine, workload = _chats(requests)
    for policy, target in TARGETS.items():
        yardstick, samples_ns = Yardstick(), list[int]()
        for _ in range(RUNS):
            for _ in range(RUNS):
                yardstick.measure()
            begun_ns = thread_cpu_ns()
            run = simulate(machine, policy, workload)
            samples_ns.append(round((thread_cpu_ns() - begun_ns) / (run.virtual_ns / 1e9)))
            yardstick.measure()
        yield timing_of(f"simulated second, {policy}", samples_ns, yardstick.unit_ms, target)
    yield _help()


def _chats(requests: int) -> tuple[Machine, Workload]:
    profile = load_profile("opt-13b-a100")
    pages = profile.kv_tokens // _PAGE_TOKENS
    facts = ExecutorFacts(1, pages, 32 * pages, _PAGE_TOKENS, _PAGE_TOKENS * profile.token_bytes, None, 1)
    machine = Machine(profile.model, facts, EngineParams(max_batch=64))
    shape, room = load_shape("azure-conv"), pages * _PAGE_TOKENS
    workload = make_workload(shape, requests=requests, warmup=requests // 5, seed=0, poisson=False, room_tokens=room)
    return machine, workload.at_rate(0.9 * drain_rate(machine, workload))


def _help() -> Timing:
    yardstick, samples_ns = Yardstick(), list[int]()
    for _ in range(RUNS):
        yardstick.measure()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(own_command("--help"), env=own_environment(), capture_output=True, timeout=60, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        samples_ns.append(round((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e9))
    return timing_of("skipjoin --help", samples_ns, yardstick.unit_ms, HELP_TARGET)
