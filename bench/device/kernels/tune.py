"""Kernel sizes of the device at hand: the search for the quickest, and the file that keeps them.

The search goes one field at a time, as often as `PASSES`, then the best against the rule in turn. A
candidate must be right before it counts. The format is `kernels/compiled/size_file`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median

import torch

from ....core.clock import Clock
from ....core.errors import InvalidSettings
from ....kernels.bring import brings_to
from ....kernels.compiled.attention import attend
from ....kernels.compiled.launch import REFUSED
from ....kernels.compiled.size_file import AttentionSizes, BadSizes, SizeFile, SizeKey, parse_sizes, render_sizes
from ....kernels.compiled.tiles import cut
from ....kernels.compiled.tuning import device_name, power_of_two, size_key, sizes_by_rule
from ....kernels.ragged_attention import AttentionShape
from ...machine import DeviceFacts
from ..command import BOUNDS
from ..race import Contestant, race
from .attention import make_world, truth
from .contest import Ground, product_on
from .scenario import Case, KernelScenario

PASSES = 2
TURNS = 3
LEAST_GAIN = 0.03
"""A smaller gain over the rule is as likely the machine's doing as the sizes'."""

Timer = Callable[[AttentionSizes], float | None]
"""Microseconds of a candidate; None for one that does not fit the device or computes something
wrong.
"""
ROUNDS = 3


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
    """The choice, its microseconds and those of the rule (None where the rule does not run).

    `tried`: candidates; `refused`: those of them that did not run or were wrong.
    """

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
    """The quickest sizes, or the rule's; None when no candidate runs. `asked`: once a timing."""
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


@dataclass(frozen=True, slots=True)
class Place:
    """Where is tuned, and by which clock."""

    device: torch.device
    dtype: torch.dtype
    clock: Clock


MakeTimer = Callable[[KernelScenario, Case, Place], Timer]


def measured(scenario: KernelScenario, case: Case, place: Place) -> Timer:
    """A timer of one case: candidates are compared with the float64 truth, then timed."""
    model = scenario.model
    product = product_on(place.device, place.dtype, model)
    world = make_world(Ground(model, product, place.device, place.dtype), case)
    shape = AttentionShape(model.heads, model.head_dim**-0.5)
    right = truth(world, shape)
    out = torch.empty_like(world.queries, memory_format=torch.contiguous_format)
    group = model.heads // model.kv_heads

    def timer(sizes: AttentionSizes) -> float | None:
        if sizes.rows < power_of_two(group):
            return None
        tiles = cut(world.batch, group, None, sizes, brings_to(place.device))

        def run() -> None:
            attend(world.kv, world.layer, shape, world.batch, world.queries, out, tiles=tiles)

        out.fill_(float("nan"))
        try:
            run()
            error = float((out.double() - right).abs().max() / right.abs().max())
            if not error <= BOUNDS[place.dtype]:
                return None
            times = race([Contestant("candidate", run, None)], ROUNDS, place.device, place.clock)
        except REFUSED:
            return None
        return median(times["candidate"]) / 1e3

    return timer


def tune(
    scenario: KernelScenario,
    head_dims: Sequence[int],
    place: Place,
    space: Space,
    told: Callable[[SizeKey, Found | None], None],
    asked: Callable[[], None],
    make_timer: MakeTimer = measured,
) -> dict[SizeKey, Found]:
    """The sizes of each case with each head size. `told` hears of each when it is found, `asked` of
    every timing.
    """
    found: dict[SizeKey, Found] = {}
    for head_dim in head_dims:
        sized = scenario.model_copy(update={"model": scenario.model.model_copy(update={"head_dim": head_dim})})
        for case in scenario.cases:
            key = size_key(place.dtype, head_dim, any(one.queries > 1 for one in case.sequences))
            # Decodes alone are never cut as chunks are: timings of that would be noise, and noise
            # would choose.
            mine = space if key.chunks else replace(space, chunk_split=())
            with torch.inference_mode():
                best = search(sizes_by_rule(key), mine, make_timer(sized, case, place), asked)
            told(key, best)
            if best is not None:
                found[key] = best
    return found


def size_file(found: dict[SizeKey, Found], place: Place, here: DeviceFacts, older: SizeFile | None) -> SizeFile:
    """What was found, over what an older file of the device says of other kinds and head sizes."""
    attention = {} if older is None else dict(older.attention)
    us = {} if older is None else dict(older.us)
    attention |= {key: one.sizes for key, one in found.items()}
    us |= {key: one.us for key, one in found.items()}
    words = f"torch {here.torch}, triton {here.triton}; skipjoin bench kernels --tune"
    return SizeFile(device_name(place.device), words, attention, us)


def file_name(device: torch.device) -> str:
    """The device's name as part of a path."""
    return re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-") + ".toml"


def read_older(path: Path, device: torch.device) -> SizeFile | None:
    """The file that will be written over; None where there is none.

    Raises InvalidSettings for one that is bad or another device's.
    """
    if not path.exists():
        return None
    try:
        older = parse_sizes(path.read_bytes(), path.name)
    except OSError as bad:
        raise InvalidSettings(f"{path.name} cannot be read: {bad.strerror}.", field="out") from None
    except BadSizes as bad:
        raise InvalidSettings(f"{bad}. Remove the file or name another with --out.", field="out") from None
    if older.device != device_name(device):
        raise InvalidSettings(f"{path.name} holds the sizes of {older.device}.", field="out")
    return older


def write_sizes(table: SizeFile, path: Path) -> None:
    """Whole or not at all. Raises InvalidSettings."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(render_sizes(table), encoding="utf-8")
        partial.replace(path)
    except OSError as bad:
        raise InvalidSettings(f"{path.name} cannot be written: {bad.strerror}.", field="out") from None
