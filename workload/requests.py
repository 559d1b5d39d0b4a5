"""The requests of one run: which are served, which are counted, when each arrives.

Owns `Workload` and how it is made of a source: cut, repeated with fresh arrivals, refused where too
large, stretched to a rate. It does not know who serves it; the simulator and the live benchmark do,
with the same jobs for every policy or target.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.errors import InvalidSettings
from ..core.plan import Int32s, Int64s
from . import arrivals
from .origins import Origins
from .shape import Shape
from .source import Source
from .trace import Trace

DEFAULT_REQUESTS = 1_000
DEFAULT_WARMUP = 200
MAX_REQUESTS = 10_000_000
MAX_RATE = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Served requests in order of arrival: int64[n] ns, int32[n] prompt and output tokens; the
    first `warmup` of them are not counted.

    `refused` counts requests left out because they fit no pool or context. `recorded` tells
    arrivals of a trace from drawn ones; `timed` is False while drawn arrivals wait for their rate.
    `notes` are sentences for the person who started the run. `origins` is None where every request
    is a tenant's like any other, and begins a conversation.
    """

    name: str
    arrival_ns: Int64s
    prompt_tokens: Int32s
    output_tokens: Int32s
    warmup: int
    refused: int
    seed: int
    recorded: bool
    timed: bool
    notes: tuple[str, ...] = ()
    origins: Origins | None = None

    def __len__(self) -> int:
        return len(self.arrival_ns)

    @property
    def counted(self) -> int:
        """Requests that enter the statistics."""
        return len(self) - self.warmup

    @property
    def rate_per_s(self) -> float | None:
        """Requests over arrival span; None when all arrive at once or arrivals wait for their rate."""
        return arrivals.rate_per_s(self.arrival_ns) if self.timed else None

    def at_rate(self, rate: float) -> Workload:
        """The same requests arriving `rate` a second: recorded arrivals stretched, drawn ones
        drawn. Raises InvalidSettings.
        """
        if not 0 < rate <= MAX_RATE:
            raise InvalidSettings(
                f"The arrival rate is {rate:g} a second.", field="rate", limit=f"above 0, at most {MAX_RATE:g}"
            )
        if not self.recorded:
            return replace(self, arrival_ns=arrivals.poisson(len(self), rate, self.seed), timed=True)
        if self.rate_per_s is None:
            raise InvalidSettings(
                f"The requests of {self.name} arrive at one instant and cannot be stretched; add --poisson.",
                field="rate",
            )
        return replace(self, arrival_ns=arrivals.stretch(self.arrival_ns, rate))

    def at_once(self) -> Workload:
        """The same requests, all present at time 0: the drain run."""
        return replace(self, arrival_ns=np.zeros(len(self), dtype=np.int64), warmup=0, timed=True)


def make_workload(
    source: Source,
    *,
    requests: int | None,
    warmup: int,
    seed: int,
    poisson: bool,
    room_tokens: int | None,
    scale_lengths: float = 1.0,
) -> Workload:
    """Draw `warmup` + `requests` requests from `source`; those above `room_tokens` (prompt +
    output, None: no bound) are refused and left out.

    `requests` None: the whole trace, or 1,000 of a shape. A trace that is too short is repeated,
    with fresh Poisson arrivals at its own rate. `scale_lengths` multiplies both lengths (at least
    one token remains). Raises InvalidSettings.
    """
    _check(requests, warmup, seed, scale_lengths)
    drawn = _drawn(source, requests, warmup, seed, poisson)
    prompts, outputs, total = drawn.prompt_tokens, drawn.output_tokens, len(drawn)
    if scale_lengths != 1.0:
        prompts, outputs = _scaled(prompts, scale_lengths), _scaled(outputs, scale_lengths)
    fits = np.ones(total, dtype=bool) if room_tokens is None else prompts.astype(np.int64) + outputs <= room_tokens
    refused = total - int(fits.sum())
    if total - refused <= warmup:
        raise InvalidSettings(
            f"{refused} of {total} requests exceed the KV room, {warmup} are to warm up: none is left to count.",
            field="kv_tokens",
            limit=f"{room_tokens} tokens",
        )
    return replace(
        drawn,
        arrival_ns=drawn.arrival_ns[fits],
        prompt_tokens=prompts[fits],
        output_tokens=outputs[fits],
        refused=refused,
        origins=None if drawn.origins is None else drawn.origins.take(np.flatnonzero(fits)),
    )


def _drawn(source: Source, requests: int | None, warmup: int, seed: int, poisson: bool) -> Workload:
    """All requests as they come from `source`: none refused, no length scaled."""
    if isinstance(source, Shape):
        total = warmup + (DEFAULT_REQUESTS if requests is None else requests)
        prompts, outputs = source.draw(total, seed)
        arrival_ns = np.zeros(total, dtype=np.int64)
        return Workload(source.name, arrival_ns, prompts, outputs, warmup, 0, seed, recorded=False, timed=False)
    total = _trace_total(source, requests, warmup)
    rows = np.arange(total) % len(source)
    arrival_ns, recorded, timed, notes = _trace_arrivals(source, total, seed, poisson)
    return Workload(
        name=source.name,
        arrival_ns=arrival_ns,
        prompt_tokens=source.prompt_tokens[rows],
        output_tokens=source.output_tokens[rows],
        warmup=warmup,
        refused=0,
        seed=seed,
        recorded=recorded,
        timed=timed,
        notes=tuple(notes),
        origins=None if source.origins is None else source.origins.take(rows),
    )


def _trace_total(trace: Trace, requests: int | None, warmup: int) -> int:
    if requests is not None:
        return warmup + requests
    if len(trace) <= warmup:
        raise InvalidSettings(
            f"{trace.name} has {len(trace)} requests, {warmup} are to warm up: give --requests or a smaller --warmup.",
            field="warmup",
            limit=f"at most {len(trace) - 1} for this trace",
        )
    return len(trace)


def _trace_arrivals(trace: Trace, total: int, seed: int, poisson: bool) -> tuple[Int64s, bool, bool, list[str]]:
    """Arrivals of `total` requests; whether they are recorded ones, whether they have a rate, and
    notes.
    """
    notes: list[str] = []
    if trace.dropped_rows:
        notes.append(f"{trace.name}: {trace.dropped_rows} rows without prompt or output were left out")
    repeated = total > len(trace)
    if repeated:
        notes.append(
            f"{trace.name} has {len(trace)} requests and {total} are asked for: repeated, with fresh Poisson arrivals"
        )
    if not (repeated or poisson):
        return trace.arrival_ns[:total] - trace.arrival_ns[0], True, True, notes
    rate = trace.rate_per_s
    if rate is None:
        return np.zeros(total, dtype=np.int64), False, False, notes
    return arrivals.poisson(total, rate, seed), False, True, notes


def _scaled(tokens: Int32s, factor: float) -> Int32s:
    scaled: Int32s = np.maximum(np.rint(tokens * factor), 1).astype(np.int32)
    return scaled


def _check(requests: int | None, warmup: int, seed: int, scale_lengths: float) -> None:
    if requests is not None and not 1 <= requests <= MAX_REQUESTS:
        raise InvalidSettings(f"--requests is {requests}.", field="requests", limit=f"1..{MAX_REQUESTS}")
    if not 0 <= warmup <= MAX_REQUESTS:
        raise InvalidSettings(f"--warmup is {warmup}.", field="warmup", limit=f"0..{MAX_REQUESTS}")
    if not 0 <= seed < 2**63:
        raise InvalidSettings(f"--seed is {seed}.", field="seed", limit=f"0..{2**63 - 1}")
    if not 0 < scale_lengths <= 1000:
        raise InvalidSettings(
            f"The length scale is {scale_lengths:g}.", field="scale_lengths", limit="above 0, at most 1000"
        )
