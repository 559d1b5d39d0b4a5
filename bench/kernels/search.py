"""The search for the quickest sizes of one kind of batch.

Owns the space of sizes and the way through it: one field at a time, as often as `PASSES`, then the best against the rule in turn. It knows no
kernel and no clock: what a candidate takes is asked of a timer. `tune` calls it with one that measures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from statistics import median

from ...kernels.compiled.size_file import AttentionSizes

PASSES = 2
TURNS = 3
LEAST_GAIN = 0.03
"""What is less than this quicker than the rule is not worth a table's row: it is as likely the machine as the sizes."""

Timer = Callable[[AttentionSizes], float | None]
"""Microseconds of a candidate; None for one that does not fit the device or computes something wrong."""


@dataclass(frozen=True, slots=True)
class Space:
    """The values of each field that are tried."""

    rows: tuple[int, ...] = (16, 32, 64, 128)
    keys: tuple[int, ...] = (16, 32, 64, 128)
    decode_split: tuple[int, ...] = (256, 512, 1024, 2048)
    chunk_split: tuple[int, ...] = (2048, 4096, 8192)
    warps: tuple[int, ...] = (2, 4, 8)
    stages: tuple[int, ...] = (1, 2, 3, 4)

    def most(self) -> int:
        """Timings that one search asks for at most."""
        return 1 + PASSES * sum(len(getattr(self, field.name)) for field in fields(self)) + 2 * TURNS


@dataclass(frozen=True, slots=True)
class Found:
    """The choice, its microseconds and those of the rule (None where the rule does not run), candidates tried and those that were refused."""

    sizes: AttentionSizes
    us: float
    rule_us: float | None
    tried: int
    refused: int

    @property
    def gain(self) -> float | None:
        """How much less time than by the rule."""
        return None if self.rule_us is None else 1 - self.us / self.rule_us


def search(rule: AttentionSizes, space: Space, timer: Timer, asked: Callable[[], None]) -> Found | None:
    """The quickest sizes, the rule's where nothing is clearly quicker; None when no candidate runs. `asked` is called once a timing."""
    known: dict[AttentionSizes, float | None] = {}

    def us_of(sizes: AttentionSizes) -> float:
        if sizes not in known:
            known[sizes] = timer(sizes)
            asked()
        us = known[sizes]
        return float("inf") if us is None else us

    best = rule
    for _ in range(PASSES):
        before = best
        for field in fields(AttentionSizes):
            near = [replace(best, **{field.name: value}) for value in getattr(space, field.name)]
            best = min([best, *near], key=us_of)
        if best == before:
            break
    refused = sum(us is None for us in known.values())
    if known[best] is None:
        return None
    if best == rule:
        return Found(rule, us_of(rule), us_of(rule), len(known), refused)
    turns = [[timer(sizes) for sizes in (rule, best)] for _ in range(TURNS)]
    for _ in range(2 * TURNS):
        asked()
    times = [[us for us in column if us is not None] for column in zip(*turns, strict=True)]
    rule_us, best_us = (median(column) if column else None for column in times)
    if best_us is None:
        return None
    if rule_us is not None and best_us > rule_us * (1 - LEAST_GAIN):
        return Found(rule, rule_us, rule_us, len(known), refused)
    return Found(best, best_us, rule_us, len(known), refused)
