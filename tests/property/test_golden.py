"""A few small scenarios with every effect pinned: a change of any decision shows here first.

Each line is a turn: iteration time, who was in the batch, pages out and in, then the rare effects
in order.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from skipjoin.core.effects import Effect, Finished, LevelChanged, Recomputed
from skipjoin.engine.params import EngineParams
from skipjoin.kvstore.params import KvParams

from .test_turn_rules import job
from .world import World

GOLDEN = Path(__file__).resolve().parent.parent / "golden"

SCENARIOS = {
    "fcfs-recomputes-the-newest": ("fcfs", 14, 0, [(0, 20, 16), (0, 12, 16), (2, 8, 4)]),
    "skipjoin-offloads-and-returns": ("skipjoin", 20, 40, [(0, 40, 24), (0, 8, 20), (3, 16, 8), (5, 4, 4), (6, 24, 6)]),
    "skipjoin-with-a-small-host": ("skipjoin", 16, 6, [(0, 24, 24), (0, 20, 20), (4, 28, 6), (8, 4, 12)]),
    "oracle-serves-the-shortest": ("srpt-oracle", 16, 30, [(0, 30, 20), (2, 30, 4), (4, 6, 2), (4, 20, 10)]),
}


def _tell(effect: Effect) -> str:
    name = type(effect).__name__
    match effect:
        case Finished():
            account = effect.account
            return f"Finished({effect.handle} {effect.reason.value} {effect.output_tokens} jct={account.jct_ns})"
        case LevelChanged():
            return f"Level({effect.handle} {effect.old}->{effect.new} {effect.cause.value})"
        case Recomputed():
            return f"Recomputed({effect.handle} {effect.tokens})"
        case _:
            return f"{name}({getattr(effect, 'handle', '')})"


def run(name: str) -> str:
    policy, device, host, arrivals = SCENARIOS[name]
    params = EngineParams(max_batch=3, kv=KvParams(floor_pages=1, clean_reserve=0.1))
    world = World(policy, params, device_pages=device, host_pages=host, seed=1)
    lines = []
    turn = 0
    while turn < 500 and (turn <= arrivals[-1][0] or world.turn.busy):
        now = world.clock.now_ns()
        events = [job(h, prompt, new, now=now) for h, (at, prompt, new) in enumerate(arrivals) if at == turn]
        before = len(world.executor.plans)
        effects = world.step(events)
        batch = ""
        if len(world.executor.plans) > before:
            plan = world.executor.plans[-1]
            chunks = [f"{c.handle}[{c.start}:{c.start + c.length}]" for c in plan.prefills]
            batch = " ".join([*map(str, plan.decode.handles.tolist()), *chunks])
        stats = effects.stats
        rare = " ".join(_tell(effect) for effect in effects.effects)
        lines.append(f"{turn}: {stats.predicted_ns} | {batch} | {stats.pages_out} {stats.pages_in} | {rare}".rstrip())
        turn += 1
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_effects_are_as_pinned(name: str) -> None:
    """After a wanted change: read the difference line by line, then write what `run` gives into the
    file.
    """
    pinned = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert run(name).splitlines() == pinned.splitlines()
