"""One question to the simulator: which jobs, on what machine, under which policies; and its answer.

Owns the order of the steps (profile, workload, drain run, a run a policy) and the JSON form of the
answer, which holds no wall time and no path. It knows neither flags nor screens; the command and
the tests ask, benchmarks of the speed read `Study.runs`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from ..core.errors import InvalidSettings
from ..core.executor import ExecutorFacts
from ..cost.profiles import load_profile
from ..cost.schema import Profile
from ..engine.params import EngineParams
from ..kvstore.params import KvMode, KvParams
from ..scheduler.adaptive.head_start import DEFAULT_TAIL, scale_of
from ..scheduler.params import check_starvation
from ..scheduler.registry import DIAL_NAMES, POLICY_NAMES
from ..scheduler.series import parse
from ..workload.requests import DEFAULT_WARMUP, Workload, make_workload
from ..workload.source import open_source
from ..workload.statistics import RunResult, summarize
from .bounds import ORACLE, Bounds, bounds
from .drain import drain_rate
from .world import Machine, simulate

PAGE_TOKENS = 16
DEFAULT_LOAD = 0.9
MAX_BATCH = 4096
MAX_KV_TOKENS = 2**28
MAX_LOAD = 100.0


class Reporter(Protocol):
    """Who is told how far the study is."""

    def note(self, text: str) -> None:
        """A sentence for the person."""
        ...

    def begin(self, what: str, jobs: int) -> None:
        """A run of `jobs` jobs starts."""
        ...

    def ended(self, jobs: int) -> None:
        """So many more jobs ended."""
        ...

    def end(self, virtual_ns: int | None = None) -> None:
        """The run is over; it covered `virtual_ns` of virtual time."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What the flags of `skipjoin simulate` say; None is a default that depends on trace or
    profile.
    """

    trace: str
    policies: tuple[str, ...]
    profile: str = "opt-13b-a100"
    data_folder: str | None = None
    load: float | None = None
    rate: float | None = None
    poisson: bool = False
    requests: int | None = None
    warmup: int | None = None
    max_batch: int = 64
    kv_tokens: int | None = None
    host_kv_tokens: int | None = None
    starvation: str = "granted"
    tail: float | None = None
    kv_mode: KvMode = "proactive"
    validate: bool = False
    seed: int = 0
    bounds: bool = False

    def check(self) -> None:
        """Raise InvalidSettings for what can be told without trace or profile."""
        if not self.policies:
            raise InvalidSettings("--policy names none.", field="policy", limit=f"of {', '.join(POLICY_NAMES)}")
        for name in self.policies:
            if parse(name).policy not in POLICY_NAMES:
                raise InvalidSettings(
                    f"There is no policy {name!r}.", field="policy", limit=f"one of {', '.join(POLICY_NAMES)}"
                )
        if self.load is not None and not 0 < self.load <= MAX_LOAD:
            raise InvalidSettings(f"--load is {self.load:g}.", field="load", limit=f"above 0, at most {MAX_LOAD:g}")
        for field, value, low, high in (
            ("max_batch", self.max_batch, 1, MAX_BATCH),
            ("kv_tokens", self.kv_tokens, PAGE_TOKENS, MAX_KV_TOKENS),
            ("host_kv_tokens", self.host_kv_tokens, 0, MAX_KV_TOKENS),
        ):
            if value is not None and not low <= value <= high:
                raise InvalidSettings(f"--{field.replace('_', '-')} is {value}.", field=field, limit=f"{low}..{high}")
        check_starvation(self.starvation)
        if self.tail is not None:
            if not any(parse(name).left_alone for name in self.policies):
                limit = f"only with {', '.join(DIAL_NAMES)}"
                raise InvalidSettings(
                    "--tail is given and no policy has a dial left to set.", field="tail", limit=limit
                )
            scale_of(self.tail)
        KvParams(mode=self.kv_mode)

    def series(self) -> tuple[str, ...]:
        """The policies as they are shown, each once."""
        return tuple(dict.fromkeys(parse(name).name for name in self.policies))


@dataclass(frozen=True, slots=True)
class Study:
    """The answer: the machine and the workload as they were, and a result a policy, in the order
    asked.

    `tails`: where the dial of each stood, None without one.
    """

    trace: str
    model: str
    device: str
    max_batch: int
    kv_tokens: int
    host_kv_tokens: int
    seed: int
    rate_per_s: float | None
    drain_rate_per_s: float | None
    load: float | None
    profile: str
    starvation: str
    kv_mode: KvMode
    results: tuple[RunResult, ...]
    tails: tuple[float | None, ...]
    bounds: Bounds | None = None

    def as_json(self) -> dict[str, object]:
        """Plain values; the same question gives the same bytes. The bounds stand there when they
        were asked for.
        """
        head = {name: getattr(self, name) for name in self.__slots__ if name not in ("results", "tails", "bounds")}
        told = {} if self.bounds is None else {"bounds": self.bounds.as_json()}
        results = [{**result.as_json(), "tail": tail} for result, tail in zip(self.results, self.tails, strict=True)]
        return {**head, **told, "results": results}


def answer(question: Question, reporter: Reporter) -> Study:
    """Run every policy over the same jobs. Raises InvalidSettings, InvalidTrace, InvalidProfile."""
    question.check()
    profile = load_profile(question.profile)
    workload = _workload(question, profile)
    for note in workload.notes:
        reporter.note(note)
    if workload.refused:
        reporter.note(f"{workload.refused} requests are larger than the KV room and refused, for every policy alike")
    machine = make_machine(
        profile, workload, question.max_batch, question.kv_tokens, question.host_kv_tokens, question.starvation
    )
    kv = KvParams(mode=question.kv_mode)
    tail = DEFAULT_TAIL if question.tail is None else question.tail
    machine = replace(machine, params=replace(machine.params, tail=tail, kv=kv, validate_every_turn=question.validate))
    drained: float | None = None
    load = question.load
    if load is None and question.rate is None and not workload.timed:
        load = DEFAULT_LOAD
    if load is not None:
        reporter.begin("drain", len(workload))
        drained = drain_rate(machine, workload, reporter.ended)
        reporter.end()
        workload = workload.at_rate(load * drained)
    elif question.rate is not None:
        workload = workload.at_rate(question.rate)
    series = question.series()
    results = [_result(machine, name, workload, reporter) for name in series]
    return Study(
        trace=workload.name,
        model=profile.model_name,
        device=profile.device,
        max_batch=question.max_batch,
        kv_tokens=machine.facts.device_pages * PAGE_TOKENS,
        host_kv_tokens=machine.facts.host_pages * PAGE_TOKENS,
        seed=question.seed,
        rate_per_s=workload.rate_per_s,
        drain_rate_per_s=drained,
        load=load,
        profile=Path(question.profile).name,
        starvation=question.starvation,
        kv_mode=question.kv_mode,
        results=tuple(results),
        tails=tuple(_tail(machine, name) for name in series),
        bounds=_bounds(machine, workload, results, reporter) if question.bounds else None,
    )


def _result(machine: Machine, name: str, workload: Workload, reporter: Reporter) -> RunResult:
    reporter.begin(name, len(workload))
    run = simulate(*turned(machine, name), workload, reporter.ended)
    reporter.end(run.virtual_ns)
    return summarize(name, workload.refused, run.jobs)


def turned(machine: Machine, name: str) -> tuple[Machine, str]:
    """The machine with the dial where `name` says (scheduler/series), and the policy. Raises
    InvalidSettings.
    """
    series = parse(name)
    if series.tail is None:
        return machine, series.policy
    return replace(machine, params=replace(machine.params, tail=series.tail)), series.policy


def _tail(machine: Machine, name: str) -> float | None:
    at, policy = turned(machine, name)
    return at.params.tail if policy in DIAL_NAMES else None


def _bounds(machine: Machine, workload: Workload, results: list[RunResult], reporter: Reporter) -> Bounds:
    """With the oracle's run where it was among the policies, else with one of its own."""
    oracle = next((result for result in results if result.policy == ORACLE), None)
    if oracle is None:
        oracle = _result(machine, ORACLE, workload, reporter)
    room_tokens = machine.facts.device_pages * PAGE_TOKENS
    return bounds(machine.cost, machine.params.max_batch, room_tokens, workload, oracle.mean_jct_s)


def _workload(question: Question, profile: Profile) -> Workload:
    warmup = DEFAULT_WARMUP if question.warmup is None else question.warmup
    wanted = None if question.requests is None else warmup + question.requests
    source = open_source(question.trace, question.data_folder, wanted)
    room = _device_pages(question, profile) * PAGE_TOKENS
    if profile.max_context_tokens is not None:
        room = min(room, profile.max_context_tokens)
    return make_workload(
        source,
        requests=question.requests,
        warmup=warmup,
        seed=question.seed,
        poisson=question.poisson,
        room_tokens=room,
    )


def _device_pages(question: Question, profile: Profile) -> int:
    return (profile.kv_tokens if question.kv_tokens is None else question.kv_tokens) // PAGE_TOKENS


def make_machine(
    profile: Profile,
    workload: Workload,
    max_batch: int,
    kv_tokens: int | None = None,
    host_kv_tokens: int | None = None,
    starvation: str = "granted",
) -> Machine:
    """What `workload` is simulated on: pools in whole pages, the profile's where None is given.

    A host that nobody bounds holds all jobs of the run at once.
    """
    device_tokens = profile.kv_tokens if kv_tokens is None else kv_tokens
    host_tokens = profile.host_kv_tokens if host_kv_tokens is None else host_kv_tokens
    if host_tokens is None:
        pages = -(-(workload.prompt_tokens.astype(np.int64) + workload.output_tokens) // PAGE_TOKENS)
        host_tokens = min(int(pages.sum()) * PAGE_TOKENS, MAX_KV_TOKENS)
    facts = ExecutorFacts(
        generation=1,
        device_pages=device_tokens // PAGE_TOKENS,
        host_pages=host_tokens // PAGE_TOKENS,
        page_tokens=PAGE_TOKENS,
        page_bytes=PAGE_TOKENS * profile.token_bytes,
        max_context_tokens=profile.max_context_tokens,
        vocab_size=1,
    )
    return Machine(
        profile.cost, facts, replace(EngineParams(), max_batch=max_batch, starvation=check_starvation(starvation))
    )
