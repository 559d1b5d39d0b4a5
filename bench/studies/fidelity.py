"""Which files of a folder belong to one measured run, and what a replay of it shows.

Owns the search, the bars and `Figure`. It neither schedules nor fits.

A run is `NAME_vllm_measured_requests.jsonl`. With `NAME_tp*_dense.csv` and its sisters beside it,
it is replayed from those tables. Without, coefficients are fitted on its first half and the second
half is predicted. `NAME_vllm_measured_meta.json` holds the server's flags; without it
`max_num_seqs` is the most requests that ever ran at once, and the room for KV is taken to have been
enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.cost_model import CostModel
from ...core.errors import InvalidTrace
from ...profiler.sources.llmservingsim import fits, read
from ...profiler.sources.reading import Wish
from .measured_run import REQUESTS, MeasuredRun, read_run
from .reading import count, object_of, text_of
from .refit import refit
from .replay import PAGE_TOKENS, Setup, replay

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
        return abs(self.ratio - 1.0) <= self.within

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


def _setup(meta: Path, run: MeasuredRun) -> Setup:
    if not meta.is_file():
        return Setup(run.running, BATCH_TOKENS, ENOUGH_KV_TOKENS)
    where = meta.name
    raw = object_of(text_of(meta), where, "file")
    flags, pool = _object_in(where, raw, "engine_kwargs"), _object_in(where, raw, "kv_cache", {})
    room = ENOUGH_KV_TOKENS
    if pool:
        blocks, size = (count(where, key, pool.get(key)) for key in ("num_gpu_blocks", "block_size"))
        room = (blocks - 1) * size  # vLLM keeps one block back that no request gets
    if room < PAGE_TOKENS:
        raise InvalidTrace(f"{where}: num_gpu_blocks leave no room for KV.", field="num_gpu_blocks")
    jobs, tokens = (count(where, key, flags.get(key)) for key in ("max_num_seqs", "max_num_batched_tokens"))
    return Setup(jobs, tokens, room)


def _object_in(where: str, raw: dict[str, Any], key: str, default: object = None) -> dict[str, Any]:
    value = raw.get(key, default)
    if not isinstance(value, dict):
        raise InvalidTrace(f"{where}: {key} is missing or no object.", field=key)
    return value
