"""Kernel sizes of the device at hand: measured candidates, and the file that keeps them.

Owns the timer of a candidate (which must be right before it counts), the loop over kinds of batch and head sizes, and the file. The search is
`search`'s, the format `kernels/compiled/size_file`'s. The command calls it on a CUDA device, a test in Triton's interpreter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch

from ...core.clock import Clock
from ...core.errors import InvalidSettings
from ...kernels.bring import brings_to
from ...kernels.compiled.attention import attend
from ...kernels.compiled.launch import REFUSED
from ...kernels.compiled.size_file import AttentionSizes, BadSizes, SizeFile, SizeKey, parse_sizes, render_sizes
from ...kernels.compiled.tiles import cut
from ...kernels.compiled.tuning import device_name, power_of_two, size_key, sizes_by_rule
from ...kernels.ragged_attention import AttentionShape
from ..machine import DeviceFacts
from .attention import make_world, truth
from .contest import BOUNDS, Contestant
from .race import race
from .scenario import Case, KernelScenario
from .search import Found, Space, Timer, search

ROUNDS = 3


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
    world = make_world(case, model, place.device, place.dtype)
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
    """The sizes of each case of `scenario` with each head size. `told` hears of each when it is found, `asked` of every timing."""
    found: dict[SizeKey, Found] = {}
    for head_dim in head_dims:
        sized = scenario.model_copy(update={"model": scenario.model.model_copy(update={"head_dim": head_dim})})
        for case in scenario.cases:
            key = size_key(place.dtype, head_dim, any(one.queries > 1 for one in case.sequences))
            # Decodes alone are never cut as chunks are: timings of that would be noise, and noise would choose.
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
    """The file that will be written over; None where there is none. Raises InvalidSettings for one that is bad or another device's."""
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
