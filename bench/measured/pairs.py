"""Which files of a folder belong to one measured run, and what a replay of it shows.

Owns the search, the bars and `Figure`. It neither schedules nor fits; `command` prints what `figures` finds.

A run is `NAME_vllm_measured_requests.jsonl`. With `NAME_tp*_dense.csv` and its sisters beside it, it is replayed from those tables; without,
coefficients are fitted on its first half and the second half is predicted. `NAME_vllm_measured_meta.json` holds the server's flags; without it
`max_num_seqs` is the most requests that ever ran at once, and where no file states the room for KV it is taken to have been enough.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InvalidTrace
from ...core.ports import CostModel
from ...profiler.sources.llmservingsim import fits, read
from ...profiler.sources.reading import Wish
from .refit import refit
from .replay import PAGE_TOKENS, Setup, replay
from .runs import MeasuredRun, read_run

REQUESTS = "_vllm_measured_requests.jsonl"
META = "_vllm_measured_meta.json"
WITHIN_TABLES = 0.10
WITHIN_REFIT = 0.15
BATCH_TOKENS = 2048
"""vLLM's `max_num_batched_tokens` where no file says."""
ENOUGH_KV_TOKENS = 1 << 22
MAX_META_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Figure:
    """One mean of one run, measured and simulated, and how far from 1 their ratio may be. `costs` says where the times came from."""

    run: str
    costs: str
    measure: str
    measured_s: float
    simulated_s: float
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
        """Plain values."""
        return asdict(self) | {"ratio": self.ratio, "holds": self.holds}


def runs_in(folder: Path) -> tuple[Path, ...]:
    """The files of requests in `folder` or below it. Raises InvalidTrace when there is none."""
    found = tuple(sorted(folder.rglob(f"*{REQUESTS}")))
    if not found:
        raise InvalidTrace(f"No file below the folder is called *{REQUESTS}.", field="data")
    return found


def figures(requests: Path) -> Iterator[Figure]:
    """Replay one run: two figures. Raises InvalidTrace and InvalidProfile naming file, line and field."""
    run = read_run(requests)
    name = requests.name.removesuffix(REQUESTS)
    setup = _setup(requests.with_name(name + META), run)
    tables = tuple(sorted(requests.parent.glob(f"{name}_tp*")))
    if fits(tables):
        cost: CostModel = read(tables, Wish(kv_tokens=setup.kv_tokens)).cost
        yield from _compared(run, replay(cost, run, setup).run, slice(None), "operator tables", WITHIN_TABLES)
    else:
        half = len(run) // 2
        found = refit(run, setup, half)
        words = f"fitted on 1-{half}, of {half + 1}-{len(run)}"
        yield from _compared(run, found.replayed.run, slice(half, None), words, WITHIN_REFIT)


def _compared(run: MeasuredRun, again: MeasuredRun, part: slice, costs: str, within: float) -> Iterator[Figure]:
    yield Figure(run.name, costs, "mean TTFT", run.mean_ttft_s(part), again.mean_ttft_s(part), within)
    yield Figure(run.name, costs, "mean latency", run.mean_latency_s(part), again.mean_latency_s(part), within)


def _setup(meta: Path, run: MeasuredRun) -> Setup:
    if not meta.is_file():
        return Setup(run.running, BATCH_TOKENS, ENOUGH_KV_TOKENS)
    if meta.stat().st_size > MAX_META_BYTES:
        raise InvalidTrace(f"{meta.name} is too large.", field="file", limit=f"at most {MAX_META_BYTES} bytes")
    try:
        raw = json.loads(meta.read_bytes())
    except (ValueError, RecursionError):
        raise InvalidTrace(f"{meta.name} is not JSON.", field="file") from None
    flags, pool = _mapping(meta.name, raw, "engine_kwargs"), _mapping(meta.name, raw, "kv_cache", optional=True)
    room = ENOUGH_KV_TOKENS
    if pool:
        # vLLM keeps one block back that no request gets.
        room = (_whole(meta.name, pool, "num_gpu_blocks") - 1) * _whole(meta.name, pool, "block_size")
    if room < PAGE_TOKENS:
        raise InvalidTrace(f"{meta.name}: num_gpu_blocks leave no room for KV.", field="num_gpu_blocks")
    return Setup(_whole(meta.name, flags, "max_num_seqs"), _whole(meta.name, flags, "max_num_batched_tokens"), room)


def _mapping(file: str, raw: Any, key: str, *, optional: bool = False) -> dict[str, Any]:
    value = raw.get(key, {} if optional else None) if isinstance(raw, dict) else None
    if not isinstance(value, dict):
        raise InvalidTrace(f"{file}: {key} is missing or no object.", field=key)
    return value


def _whole(file: str, raw: dict[str, Any], key: str) -> int:
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1 << 20:
        raise InvalidTrace(f"{file}: {key} is missing or out of bounds.", field=key, limit="whole, 1 to 2^20")
    return value
