"""`skipjoin bench run`: which requests, at what rate, against which server; its table and its JSON.

Owns the flags and the order of the steps: workload, a drain where a load is asked for, the run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ...client import AsyncClient, RetryParams, TlsParams
from ...console.json_flag import add_json_flag
from ...core.clock import Clock, MonotonicClock
from ...core.errors import InvalidInput, InvalidSettings, Unavailable
from ...cost.profiles import load_profile
from ...cost.schema import Profile
from ...sim.drain import completion_rate
from ...workload.requests import Workload, make_workload
from ...workload.source import open_source
from ...workload.statistics import RunResult
from ..flags import Flags, check_bounds
from ..json_file import write_json
from ..progress import Bar
from ..table import grid, known, seconds
from .loops import LoadRun, Target, offer, requests_of
from .openai_target import OpenAiTarget, first_model
from .skipjoin_target import MetricsPage, SkipjoinTarget

RETRY = RetryParams(give_up_s=5.0)
"""A person who measures a server that is not there hears of it soon."""

PATIENCE_S = 3600.0
"""A server that is alive sends something within an hour, however long its queue; one that hangs is
told as a failure of each request."""


@dataclass(frozen=True, slots=True)
class Address:
    """Which server is measured."""

    #: "skipjoin" or "openai".
    kind: str
    url: str
    #: None: the server's first.
    model: str | None = None
    metrics_url: str | None = None
    token_file: str | None = None
    tls_ca: str | None = None
    tls: bool = False


@asynccontextmanager
async def connected(address: Address, clock: Clock) -> AsyncIterator[Target]:
    """A target, closed when the block ends. Raises InvalidInput, Unavailable."""
    if address.token_file is None:
        token = os.environ.get("SKIPJOIN_TOKEN") or None
    else:
        token = _read(address.token_file, "token_file").decode("utf-8", "replace").strip()
    target: Target
    if address.kind == "openai":
        if not address.url.startswith(("http://", "https://")):
            raise InvalidInput("--url must be http://HOST:PORT or https://HOST:PORT.", field="url")
        url = address.url.rstrip("/").removesuffix("/v1")
        model = address.model if address.model is not None else await first_model(url, token)
        target = OpenAiTarget(url, model, clock, token, patience_s=PATIENCE_S)
    else:
        tls = TlsParams() if address.tls else None
        if address.tls_ca is not None:
            tls = TlsParams(root_pem=_read(address.tls_ca, "tls_ca"))

        def connect() -> AsyncClient:
            return AsyncClient(address.url, token=token, tls=tls, retry=RETRY)

        await connect().close()  # refuses a bad address now
        metrics = None if address.metrics_url is None else MetricsPage(address.metrics_url)
        target = SkipjoinTarget(connect, clock, metrics)
    try:
        yield target
    finally:
        await target.close()


def _read(file: str, field: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{Path(file).name} cannot be read: {error.strerror}.", field=field) from None


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
        more_than_nothing, vocabularies = 1e-9, (1, 2**31 - 1)
        check_bounds(self, load=(more_than_nothing, 100), drain_rate=(more_than_nothing, 1e6))
        check_bounds(self, vocab_size=vocabularies, max_tokens=(2, 2**40))

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


ROWS: tuple[tuple[str, str, str | Callable[[float], str]], ...] = (
    ("jobs", "requests", ",.0f"),
    ("mean JCT (s)", "mean_jct_s", seconds),
    ("P50 JCT (s)", "p50_jct_s", seconds),
    ("P95 JCT (s)", "p95_jct_s", seconds),
    ("P99 JCT (s)", "p99_jct_s", seconds),
    ("normalised latency (s/token)", "mean_normalized_latency_s", ".4f"),
    ("mean TTFT (s)", "mean_ttft_s", seconds),
    ("P99 TTFT (s)", "p99_ttft_s", seconds),
    ("mean TPOT (ms)", "mean_tpot_s", lambda value: f"{value * 1e3:.1f}"),
    ("output tokens a second", "output_token_throughput", ",.1f"),
    ("makespan (s)", "makespan_s", seconds),
    ("worst slowdown", "max_slowdown", ",.1f"),
    ("preemptions", "preemptions", ",.0f"),
    ("MB of KV moved", "bytes_moved", lambda value: f"{value / 1e6:,.0f}"),
    ("tokens recomputed", "tokens_recomputed", ",.0f"),
)
"""Label, field, format."""


def table(columns: Sequence[tuple[str, RunResult]]) -> str:
    """One column per run, one line per figure; what is not known is a dash."""
    lines = [[label, *(known(getattr(result, field), form) for _, result in columns)] for label, field, form in ROWS]
    return grid([["", *(title for title, _ in columns)], *lines])


def print_load(study: LoadStudy) -> None:
    """One run of `bench run`."""
    rate = "as recorded" if study.rate_per_s is None else f"{study.rate_per_s:.3f} requests a second"
    load = "" if study.load is None else f", load {study.load:g}"
    print(f"{study.trace} against {study.target}: {rate}{load}, seed {study.seed}\n")
    print(table([(study.result.policy or "live", study.result)]))
    for failure, count in study.failures.items():
        print(f"{count} failed: {failure}")
    word = "kept its schedule" if study.trustworthy else "was TOO LATE for these figures to be trusted"
    print(f"The generator {word}: lag P99 {study.lag_p99_ms:.1f} ms, worst {study.lag_max_ms:.1f} ms")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench run`."""
    flags = Flags(parser)
    flags.choice("target", ("skipjoin", "openai"), "", "skipjoin")
    flags.value("url", "URL", "HOST:PORT of gRPC for skipjoin, http://HOST:PORT for openai", required=True)
    flags.value("trace", "CSV|shape:NAME", "as in simulate", required=True)
    rate = Flags(parser.add_mutually_exclusive_group())
    rate.value("load", "R", "arrival rate over drain rate", kind=float)
    rate.value("rate", "R", "requests a second", kind=float)
    flags.value("drain-rate", "R", "for --load: requests a second; left out, it is measured first", kind=float)
    flags.switch("poisson", "draw fresh arrivals instead of the recorded ones")
    flags.value("requests", "N", "counted requests (default: the trace, 1000 of a shape)", kind=int)
    flags.value("warmup", "N", "requests before them, sent and not counted", 0)
    flags.value("scale-lengths", "F", "multiply prompt and output lengths", 1.0)
    flags.value("max-tokens", "K", "leave out requests with more tokens than this", kind=int)
    flags.value("vocab-size", "N", "token ids are drawn below this", 256)
    flags.value("seed", "S", "of lengths, arrivals and token ids", 0)
    flags.value("profile", "NAME|FILE", "cost profile, for max_slowdown")
    flags.value("metrics-url", "URL", "the skipjoin server's /metrics, for policy and bytes moved")
    flags.value("model", "NAME", "for openai (default: the server's first)")
    flags.value("token-file", "FILE", "bearer token (or the environment's SKIPJOIN_TOKEN)")
    flags.switch("tls", "for skipjoin: TLS with the system's roots")
    flags.value("tls-ca", "FILE", "for skipjoin: TLS with these roots (PEM)")
    add_json_flag(parser, "the figures")


def run(args: argparse.Namespace) -> int:
    """Measure. Raises SkipjoinError."""
    told: dict[str, Any] = {field.name: getattr(args, field.name, None) for field in fields(LoadQuestion)}
    told["data_folder"] = os.environ.get("SKIPJOIN_BENCH_DATA")
    told["profile"] = None if args.profile is None else load_profile(args.profile)
    question = LoadQuestion(**told)
    question.check()
    address = Address(args.target, args.url, args.model, args.metrics_url, args.token_file, args.tls_ca, args.tls)

    async def measure(bar: Bar) -> LoadStudy:
        clock = MonotonicClock()
        async with connected(address, clock) as target:
            return await study_load(question, args.target, target, clock, bar)

    with Bar() as bar:
        study = asyncio.run(measure(bar))
    print_load(study)
    write_json(args.json, study.as_json())
    return 0
