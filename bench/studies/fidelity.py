"""Which files of a folder belong to one measured run, and what a replay of it shows.

Owns the search, the bars and `Figure`. It neither schedules nor fits.

A run is `NAME_vllm_measured_requests.jsonl`. With `NAME_tp*_dense.csv` and its sisters beside it,
it is replayed from those tables. Without, coefficients are fitted on its first half and the second
half is predicted. `NAME_vllm_measured_meta.json` holds the server's flags; without it
`max_num_seqs` is the most requests that ever ran at once, and the room for KV is taken to have been
enough.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...console.json_flag import add_json_flag
from ...core.cost_model import CostModel
from ...core.errors import InvalidTrace
from ...profiler.sources.llmservingsim import fits, read
from ...profiler.sources.reading import Wish
from ..figures import near_one
from ..flags import Flags
from ..json_file import write_json
from ..table import grid
from .reading import REQUESTS, Count, MeasuredRun, Part, data_folder, part_of, read_run, text_of
from .replay import PAGE_TOKENS, Setup, refit, replay

META = "_vllm_measured_meta.json"
WITHIN_TABLES = 0.10
WITHIN_REFIT = 0.15
BATCH_TOKENS = 2048
"""vLLM's `max_num_batched_tokens` where no file says."""
ENOUGH_KV_TOKENS = 1 << 22


@dataclass(frozen=True, slots=True)
class Figure:
    """One mean of one run, measured and simulated."""

    run: str
    #: Where the times came from.
    costs: str
    measure: str
    measured_s: float
    simulated_s: float
    #: How far from 1 the ratio may be.
    within: float

    @property
    def ratio(self) -> float:
        """Simulated over measured."""
        return self.simulated_s / self.measured_s

    @property
    def holds(self) -> bool:
        """Whether the ratio is within the bar."""
        return near_one([self.ratio], self.within) is True

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"ratio": self.ratio, "holds": self.holds}


def runs_in(folder: Path) -> tuple[Path, ...]:
    """The files of requests in `folder` or below it. Raises InvalidTrace when there is none."""
    found = tuple(sorted(folder.rglob(f"*{REQUESTS}")))
    if not found:
        raise InvalidTrace(f"No file below the folder is called *{REQUESTS}.", field="data")
    return found


def figures(requests: Path) -> Iterator[Figure]:
    """Replay one run: two figures. Raises InvalidTrace, InvalidProfile."""
    run = read_run(requests)
    name = requests.name.removesuffix(REQUESTS)
    setup = _setup(requests.with_name(name + META), run)
    tables = tuple(sorted(requests.parent.glob(f"{name}_tp*")))
    if fits(tables):
        cost: CostModel = read(tables, Wish(kv_tokens=setup.kv_tokens)).cost
        again, part, costs, within = replay(cost, run, setup).run, slice(None), "operator tables", WITHIN_TABLES
    else:
        half = len(run) // 2
        again, part, within = refit(run, setup, half).replayed.run, slice(half, None), WITHIN_REFIT
        costs = f"fitted on 1-{half}, of {half + 1}-{len(run)}"
    yield Figure(run.name, costs, "mean TTFT", run.mean_ttft_s(part), again.mean_ttft_s(part), within)
    yield Figure(run.name, costs, "mean latency", run.mean_latency_s(part), again.mean_latency_s(part), within)


class _Flags(Part):
    max_num_seqs: Count
    max_num_batched_tokens: Count


class _Pool(Part):
    num_gpu_blocks: Count
    block_size: Count


class _Meta(Part):
    engine_kwargs: _Flags
    kv_cache: _Pool | None = None


def _setup(meta: Path, run: MeasuredRun) -> Setup:
    if not meta.is_file():
        return Setup(run.running, BATCH_TOKENS, ENOUGH_KV_TOKENS)
    told = part_of(text_of(meta), _Meta, meta.name, "file")
    room = ENOUGH_KV_TOKENS
    if told.kv_cache is not None:
        room = (told.kv_cache.num_gpu_blocks - 1) * told.kv_cache.block_size  # one block no request of vLLM's gets
    if room < PAGE_TOKENS:
        raise InvalidTrace(f"{meta.name}: num_gpu_blocks leave no room for KV.", field="num_gpu_blocks")
    return Setup(told.engine_kwargs.max_num_seqs, told.engine_kwargs.max_num_batched_tokens, room)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench fidelity`."""
    where = "folder with measured runs (default: the environment's SKIPJOIN_BENCH_DATA)"
    Flags(parser).value("data", "DIR", where)
    add_json_flag(parser, "the figures")


def run(args: argparse.Namespace) -> int:
    """Replay every run below the folder: 0 when every figure is within its bar, else 1.

    Raises InvalidSettings, InvalidTrace, InvalidProfile.
    """
    folder = data_folder(args.data, "measured runs")
    found = [figure for requests in runs_in(folder) for figure in figures(requests)]
    print(figures_table(found), end="")
    write_json(args.json, {"figures": [one.as_json() for one in found]})
    return 0 if all(figure.holds for figure in found) else 1


def figures_table(found: Sequence[Figure]) -> str:
    """A line for each figure of `bench fidelity`."""
    lines = [("run", "costs", "", "measured", "simulated", "ratio", "bar")]
    for one in found:
        times = (f"{one.measured_s:.2f} s", f"{one.simulated_s:.2f} s", f"{one.ratio:.3f}")
        bar = f"{1 - one.within:.2f}-{1 + one.within:.2f}{'' if one.holds else ' missed'}"
        lines.append((one.run, one.costs, one.measure, *times, bar))
    return grid(lines, left=3)
