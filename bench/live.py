"""One live benchmark run: which requests, at what rate, against whom; and its answer as JSON.

Owns the order of the steps (workload, drain run where a load is asked for, the run) and the fields. It knows neither flags nor screens nor wires; the
command asks, a `Target` carries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from ..core.clock import Clock
from ..core.errors import InvalidSettings, Unavailable
from ..cost.schema import Profile
from ..sim.drain import completion_rate
from ..workload.requests import Workload, make_workload
from ..workload.source import open_source
from ..workload.statistics import RunResult
from .load import LiveRun, offer
from .prompts import requests_of
from .target import Target

MAX_LOAD = 100.0
MAX_VOCABULARY = 2**31 - 1


class Reporter(Protocol):
    """Who is told how far the run is."""

    def note(self, text: str) -> None:
        """A sentence for the person."""
        ...

    def begin(self, what: str, jobs: int) -> None:
        """A run of `jobs` requests starts."""
        ...

    def ended(self, jobs: int) -> None:
        """So many more requests ended."""
        ...

    def end(self) -> None:
        """The run is over."""
        ...


@dataclass(frozen=True, slots=True)
class LiveQuestion:
    """What the flags of `skipjoin bench run` say; None is a default that depends on the trace."""

    trace: str
    data_folder: str | None = None
    load: float | None = None
    rate: float | None = None
    drain_rate: float | None = None
    poisson: bool = False
    requests: int | None = None
    warmup: int = 0
    scale_lengths: float = 1.0
    max_tokens: int | None = None
    vocab_size: int = 256
    seed: int = 0
    profile: Profile | None = None

    def check(self) -> None:
        """Raise InvalidSettings for what can be told without the trace."""
        if self.load is not None and not 0 < self.load <= MAX_LOAD:
            raise InvalidSettings(f"--load is {self.load:g}.", field="load", limit=f"above 0, at most {MAX_LOAD:g}")
        if self.drain_rate is not None and not 0 < self.drain_rate <= 1e6:
            raise InvalidSettings(
                f"--drain-rate is {self.drain_rate:g}.", field="drain_rate", limit="above 0, at most 1e6"
            )
        if not 1 <= self.vocab_size <= MAX_VOCABULARY:
            raise InvalidSettings(
                f"--vocab-size is {self.vocab_size}.", field="vocab_size", limit=f"1..{MAX_VOCABULARY}"
            )
        if self.max_tokens is not None and self.max_tokens < 2:
            raise InvalidSettings(f"--max-tokens is {self.max_tokens}.", field="max_tokens", limit="at least 2")

    def workload(self) -> Workload:
        """The requests, with a rate where the trace has one. Raises InvalidSettings, InvalidTrace."""
        wanted = None if self.requests is None else self.warmup + self.requests
        return make_workload(
            open_source(self.trace, self.data_folder, wanted),
            requests=self.requests,
            warmup=self.warmup,
            seed=self.seed,
            poisson=self.poisson,
            room_tokens=self.max_tokens,
            scale_lengths=self.scale_lengths,
        )


@dataclass(frozen=True, slots=True)
class LiveStudy:
    """The answer. `result` has the fields of simulate's; the generator's lag says whether to believe it."""

    trace: str
    target: str
    seed: int
    rate_per_s: float | None
    drain_rate_per_s: float | None
    load: float | None
    result: RunResult
    failures: dict[str, int]
    lag_p99_ms: float
    lag_max_ms: float
    trustworthy: bool

    def as_json(self) -> dict[str, object]:
        """Plain values; `results` is a list of one, as simulate writes it."""
        failed = sum(self.failures.values())
        head = {name: getattr(self, name) for name in self.__slots__ if name not in ("result", "failures")}
        return {**head, "failed": failed, "failures": self.failures, "results": [dict(self.result.as_json())]}


async def answer(question: LiveQuestion, name: str, target: Target, clock: Clock, reporter: Reporter) -> LiveStudy:
    """Measure. Raises InvalidSettings, InvalidTrace, and Unavailable when not one request succeeded."""
    question.check()
    workload = question.workload()
    for note in workload.notes:
        reporter.note(note)
    if workload.refused:
        reporter.note(f"{workload.refused} requests are larger than --max-tokens and left out")
    drained = question.drain_rate
    if question.load is not None:
        if drained is None:
            drained = await _drain(question, target, workload, clock, reporter)
        workload = workload.at_rate(question.load * drained)
    elif question.rate is not None:
        workload = workload.at_rate(question.rate)
    elif not workload.timed:
        raise InvalidSettings(f"{workload.name} has no arrivals: give --rate or --load.", field="rate")
    run = await _run(f"load on {name}", question, target, workload, clock, reporter)
    alone = None if question.profile is None else question.profile.cost.alone_ns
    p99_ms, max_ms = run.lag_ms
    if not run.trustworthy:
        reporter.note(
            f"The generator was {p99_ms:.1f} ms late (99th percentile): this machine was too slow for the load, do not trust the figures"
        )
    return LiveStudy(
        trace=workload.name,
        target=name,
        seed=question.seed,
        rate_per_s=workload.rate_per_s,
        drain_rate_per_s=drained,
        load=question.load,
        result=run.results(alone),
        failures=_counted(run.failures),
        lag_p99_ms=p99_ms,
        lag_max_ms=max_ms,
        trustworthy=run.trustworthy,
    )


async def _drain(question: LiveQuestion, target: Target, workload: Workload, clock: Clock, reporter: Reporter) -> float:
    reporter.note("The drain rate is measured first: all requests at once. --drain-rate spares it")
    run = await _run("drain", question, target, replace(workload.at_once(), timed=True), clock, reporter)
    rate = completion_rate(run.ends_ns())
    reporter.note(f"drain rate {rate:.3f} requests a second")
    return rate


async def _run(
    what: str, question: LiveQuestion, target: Target, workload: Workload, clock: Clock, reporter: Reporter
) -> LiveRun:
    reporter.begin(what, len(workload))
    try:
        requests = requests_of(workload, question.vocab_size)
        run = await offer(target, workload, requests, clock, ended=reporter.ended)
    finally:
        reporter.end()
    if not run.ends_ns():
        first = next(iter(_counted([answer.failure or "" for answer in run.answers])), "no answer")
        raise Unavailable(f"Not one of {len(workload)} requests succeeded; the first: {first}")
    return run


def _counted(failures: list[str]) -> dict[str, int]:
    """How often each sentence, most frequent first."""
    counts: dict[str, int] = {}
    for failure in failures:
        counts[failure] = counts.get(failure, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
