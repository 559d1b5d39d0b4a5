"""One run of `bench run`: which requests, at what rate; and its figures as JSON.

Owns the order of the steps (workload, a drain where a load is asked for, the run) and the fields.
It knows neither flags nor wires: the command asks, a `Target` carries.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from ...core.clock import Clock
from ...core.errors import InvalidSettings, Unavailable
from ...cost.schema import Profile
from ...sim.drain import completion_rate
from ...workload.requests import Workload, make_workload
from ...workload.source import open_source
from ...workload.statistics import RunResult
from ..progress import Bar
from .loops import LoadRun, offer
from .target import Target, requests_of

MAX_LOAD = 100.0
MAX_VOCABULARY = 2**31 - 1


@dataclass(frozen=True, slots=True)
class LoadQuestion:
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
        for field, value, most in (("load", self.load, MAX_LOAD), ("drain_rate", self.drain_rate, 1e6)):
            if value is not None and not 0 < value <= most:
                flag = field.replace("_", "-")
                raise InvalidSettings(f"--{flag} is {value:g}.", field=field, limit=f"above 0, at most {most:g}")
        if not 1 <= self.vocab_size <= MAX_VOCABULARY:
            limit = f"1..{MAX_VOCABULARY}"
            raise InvalidSettings(f"--vocab-size is {self.vocab_size}.", field="vocab_size", limit=limit)
        if self.max_tokens is not None and self.max_tokens < 2:
            raise InvalidSettings(f"--max-tokens is {self.max_tokens}.", field="max_tokens", limit="at least 2")

    def workload(self) -> Workload:
        """The requests, with the trace's rate. Raises InvalidSettings, InvalidTrace."""
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
class LoadStudy:
    """What came of it. The generator's lag says whether to believe it."""

    trace: str
    target: str
    seed: int
    rate_per_s: float | None
    drain_rate_per_s: float | None
    load: float | None
    result: RunResult
    #: How often each sentence, most frequent first.
    failures: dict[str, int]
    lag_p99_ms: float
    lag_max_ms: float
    trustworthy: bool

    def as_json(self) -> dict[str, object]:
        """Plain values; `results` is a list of one, as simulate writes it."""
        failed = sum(self.failures.values())
        head = {name: getattr(self, name) for name in self.__slots__ if name not in ("result", "failures")}
        return {**head, "failed": failed, "failures": self.failures, "results": [dict(self.result.as_json())]}


async def study_load(question: LoadQuestion, name: str, target: Target, clock: Clock, bar: Bar) -> LoadStudy:
    """Measure. Raises InvalidSettings, InvalidTrace, Unavailable where all requests fail."""
    question.check()
    workload = question.workload()
    for note in workload.notes:
        bar.note(note)
    if workload.refused:
        bar.note(f"{workload.refused} requests are larger than --max-tokens and left out")

    async def run(what: str, timed: Workload) -> LoadRun:
        requests = requests_of(timed, question.vocab_size)
        with bar.steps(what, len(timed)) as ended:
            done = await offer(target, timed, requests, clock, ended=ended)
        if not done.ends_ns():
            first = next(iter(_counted([answer.failure or "" for answer in done.answers])), "no answer")
            raise Unavailable(f"Not one of {len(timed)} requests succeeded; the first: {first}")
        return done

    drained = question.drain_rate
    if question.load is not None:
        if drained is None:
            bar.note("The drain rate is measured first: all requests at once. --drain-rate spares it")
            drained = completion_rate((await run("drain", replace(workload.at_once(), timed=True))).ends_ns())
            bar.note(f"drain rate {drained:.3f} requests a second")
        workload = workload.at_rate(question.load * drained)
    elif question.rate is not None:
        workload = workload.at_rate(question.rate)
    elif not workload.timed:
        raise InvalidSettings(f"{workload.name} has no arrivals: give --rate or --load.", field="rate")
    done = await run(f"load on {name}", workload)
    p99_ms, max_ms = done.lag_ms
    if not done.trustworthy:
        late = f"The generator was {p99_ms:.1f} ms late (99th percentile)"
        bar.note(f"{late}: this machine was too slow for the load, do not trust the figures")
    return LoadStudy(
        trace=workload.name,
        target=name,
        seed=question.seed,
        rate_per_s=workload.rate_per_s,
        drain_rate_per_s=drained,
        load=question.load,
        result=done.results(None if question.profile is None else question.profile.cost.alone_ns),
        failures=_counted(done.failures),
        lag_p99_ms=p99_ms,
        lag_max_ms=max_ms,
        trustworthy=done.trustworthy,
    )


def _counted(failures: list[str]) -> dict[str, int]:
    return dict(sorted(Counter(failures).items(), key=lambda item: (-item[1], item[0])))
