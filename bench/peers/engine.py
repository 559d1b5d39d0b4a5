"""A comparison of engines: run by run, and what it amounts to (rates, medians, ratios, verdicts).

Owns the order: every system is loaded in a process of its own and stays. Then for each batch and
repeat all decode the same prompts, one after the other, and the first one changes from repeat to
repeat. It knows no system beyond its process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from ...core.errors import InvalidSettings, Unavailable
from ...model.config import ModelConfig
from ..figures import Spread, Verdict
from ..progress import Bar
from .catalogue import PEERS, Home, Peer, install_words, peer_named
from .runner import Runner, own_runner, peer_runner
from .runners import ROOF
from .scenario import BEST_PEER, LINEAR, EngineBar, EngineScenario, kv_gib

OURS = "skipjoin"


@dataclass(frozen=True, slots=True)
class Run:
    """One system decoding one batch."""

    system: str
    batch: int
    repeat: int
    output_tokens: int
    #: The whole call.
    seconds: float
    #: A call for one token each, with prompts of the same length.
    prompt_seconds: float
    #: Share of requests whose tokens are all ours; None in our own runs. In half precision sums in
    #: another order choose another token now and then, and what follows is another text.
    same: float | None = None
    #: Mean share of a request's tokens in front of the first that is not ours.
    agreed: float | None = None

    @property
    def rate(self) -> float:
        """Output tokens a second, prompts included."""
        return self.batch * self.output_tokens / self.seconds

    @property
    def decode_rate(self) -> float | None:
        """Output tokens a second after the first; None when noise hides it."""
        left_s = self.seconds - self.prompt_seconds
        return self.batch * (self.output_tokens - 1) / left_s if left_s > 0 else None


@dataclass(frozen=True, slots=True)
class Roof:
    """The model's linear layers alone, and reading its weights."""

    batch: int
    repeat: int
    output_tokens: int
    step_seconds: float
    prompt_seconds: float
    read_seconds: float

    @property
    def rate(self) -> float:
        """Tokens a second of decode steps alone."""
        return self.batch / self.step_seconds

    @property
    def job_rate(self) -> float:
        """Output tokens a second, prompts included, if only linear layers took time."""
        whole_s = self.prompt_seconds + (self.output_tokens - 1) * self.step_seconds
        return self.batch * self.output_tokens / whole_s

    @property
    def read_rate(self) -> float:
        """Tokens a second if a step were one reading of the weights."""
        return self.batch / self.read_seconds


@dataclass(slots=True)
class EngineStudy:
    """All runs."""

    scenario: EngineScenario
    runs: list[Run] = field(default_factory=list)
    roofs: list[Roof] = field(default_factory=list)
    #: By system.
    versions: dict[str, Mapping[str, str]] = field(default_factory=dict)
    #: Why a peer is not there, by name.
    absent: dict[str, str] = field(default_factory=dict)
    #: Those of them that should have been.
    failed: set[str] = field(default_factory=set)

    @property
    def systems(self) -> list[str]:
        """Ours first, then in the order they were measured."""
        return list(dict.fromkeys([OURS, *(run.system for run in self.runs)]))

    def values(self, system: str, batch: int, figure: str = "rate") -> dict[int, float]:
        """Repeat -> a figure of a system's runs, or (LINEAR) of the roofs."""
        mine = self.roofs if system == LINEAR else [run for run in self.runs if run.system == system]
        found = {one.repeat: getattr(one, figure) for one in mine if one.batch == batch}
        return {repeat: value for repeat, value in found.items() if value is not None}

    def spread(self, system: str, batch: int, figure: str = "rate") -> Spread | None:
        """Of those values."""
        return Spread.known(list(self.values(system, batch, figure).values()))

    def mean(self, system: str, batch: int, figure: str) -> float | None:
        """Of those values."""
        return fmean(found.values()) if (found := self.values(system, batch, figure)) else None

    def verdicts(self) -> list[Verdict]:
        """Every bar of the scenario, in order."""
        return [self._verdict(bar) for bar in self.scenario.bars]

    def _verdict(self, bar: EngineBar) -> Verdict:
        over = bar.over
        if over == BEST_PEER:
            medians = {name: rate.median for name in self.systems[1:] if (rate := self.spread(name, bar.batch))}
            over = max(medians, key=lambda name: medians[name], default=BEST_PEER)
        ratio = Spread.of_ratios(self.values(OURS, bar.batch), self.values(over, bar.batch))
        return Verdict(f"batch {bar.batch}", "output tokens a second", over, ratio, bar.least)


LOAD_S, CALL_S = 600.0, 600.0
WARM_TOKENS = 4
NS = 1e9
Tokens = list[list[int]]


def taking_part(asked: Sequence[str] | None, scenario: EngineScenario) -> tuple[list[Peer], dict[str, str]]:
    """The peers that take part, and why the others do not; `asked` None: all, () none.

    Raises InvalidSettings for one that is missed, saying how to install it: one asked for by name,
    or any where the scenario is of no use without.
    """
    device = scenario.device
    peers = [peer_named(name, "peers") for name in dict.fromkeys(PEERS if asked is None else asked)]
    present, absent, missed = [], {}, []
    for peer in peers:
        if peer.runner is None:
            continue
        if (why := peer.unable(device, scenario.dtype)) is not None:
            absent[peer.name] = why
        elif (home := Home(peer, device)).version() is not None:
            present.append(peer)
        else:
            absent[peer.name] = home.absence
            missed.append(peer)
    if missed and (asked is not None or scenario.peers_needed):
        names = f"{', '.join(peer.name for peer in missed)} {'is' if len(missed) == 1 else 'are'}"
        built = "" if device == "cpu" else f" for {device}"
        alone = "" if asked is not None else ", or say --peers none to measure ours alone"
        how = f"run `{install_words(missed, device)}`{alone}"
        raise InvalidSettings(f"{names} not installed{built}: {how}.", field="peers")
    return present, absent


def systems_of(
    scenario: EngineScenario, config: ModelConfig, peers: Sequence[Peer], folder: Path
) -> tuple[list[tuple[Runner, Path]], Runner | None]:
    """Every system's process and its folder, ours first; and the roof's on a CPU.

    `bench kernels` has the roofs of a GPU.
    """
    threads, device = scenario.threads, scenario.device
    room = kv_gib(config, max(scenario.batches) * scenario.room_tokens)
    systems = [(own_runner(OURS, "own", threads, folder / "ours.log"), folder)]
    systems += [(peer_runner(peer, threads, room, device), Home(peer, device).kept) for peer in peers]
    return systems, own_runner(LINEAR, ROOF, threads, folder / "roof.log") if device == "cpu" else None


def measure(
    study: EngineStudy,
    model: Path,
    vocabulary: int,
    systems: Sequence[tuple[Runner, Path]],
    roof: Runner | None,
    bar: Bar,
) -> Iterator[Run | Roof]:
    """Fill `study` and give every run as it ends.

    `systems`: ours first, each with the folder it may keep things in. `roof` None: not measured.
    Raises Unavailable when ours or the roof fails. A peer that fails is noted, and the others go
    on.
    """
    scenario = study.scenario
    asked = {"model": str(model), "threads": scenario.threads, "device": scenario.device, "dtype": scenario.dtype}
    asked |= {"most": max(scenario.batches), "room": scenario.room_tokens}  # requests at once, tokens of each
    with ExitStack() as stack:
        there: list[Runner] = []
        with bar.steps("loading", len(systems) + (roof is not None)) as ended:
            for runner, kept in systems:
                if _loaded(study, stack.enter_context(runner), {**asked, "kept": str(kept)}, vocabulary):
                    there.append(runner)
                ended(1)
            if roof is not None:
                study.versions[roof.name] = stack.enter_context(roof).ask("load", LOAD_S, **asked)["versions"]
        with bar.steps("decoding", len(scenario.batches) * scenario.repeats) as ended:
            for batch in scenario.batches:
                for repeat in range(scenario.repeats):
                    yield from _round(study, there, roof, batch, repeat, vocabulary)
                    ended(1)


def _loaded(study: EngineStudy, runner: Runner, asked: dict[str, object], vocabulary: int) -> bool:
    """Load it and decode a little of every batch, so that nothing is compiled in what is timed."""
    scenario = study.scenario
    try:
        study.versions[runner.name] = runner.ask("load", LOAD_S, **asked)["versions"]
        for batch in scenario.batches:
            prompts = scenario.prompts(batch, -1, vocabulary)
            runner.ask("generate", CALL_S, prompts=prompts, new_tokens=WARM_TOKENS)
    except Unavailable as bad:
        _lost(study, runner, bad)
        return False
    return True


def _lost(study: EngineStudy, runner: Runner, why: Unavailable) -> None:
    if runner.name == OURS:
        raise why
    runner.stop()  # its memory and processors are for the others
    study.absent[runner.name] = str(why)
    study.failed.add(runner.name)


def _round(
    study: EngineStudy, there: list[Runner], roof: Runner | None, batch: int, repeat: int, vocabulary: int
) -> Iterator[Run | Roof]:
    """One repeat of one batch: the roof and every system that is still there."""
    if roof is not None:
        yield _roof(study, roof, batch, repeat)
    runs: dict[str, tuple[Run, Tokens]] = {}
    turn = repeat % max(len(there), 1)
    for runner in [*there[turn:], *there[:turn]]:
        try:
            runs[runner.name] = _run(study, runner, batch, repeat, vocabulary)
        except Unavailable as bad:
            _lost(study, runner, bad)
            there.remove(runner)
    ours = runs[OURS][1]
    for name, (run, tokens) in runs.items():
        if name != OURS:
            same, agreed = agreement(ours, tokens)
            run = replace(run, same=same, agreed=agreed)
        study.runs.append(run)
        yield run


def _roof(study: EngineStudy, roof: Runner, batch: int, repeat: int) -> Roof:
    scenario = study.scenario
    told = roof.ask("linear", CALL_S, rows=batch, prompt_rows=batch * scenario.prompt_tokens)
    times = (told[name] / NS for name in ("step_ns", "prompt_ns", "read_ns"))
    limits = Roof(batch, repeat, scenario.output_tokens, *times)
    study.roofs.append(limits)
    return limits


def agreement(ours: Tokens, theirs: Tokens) -> tuple[float, float]:
    """Share of requests with our tokens; mean share of tokens before the first other."""
    same, agreed = 0, 0.0
    for mine, other in zip(ours, theirs, strict=True):
        differ = (at for at, (one, two) in enumerate(zip(mine, other, strict=True)) if one != two)
        agreed += next(differ, len(mine)) / len(mine)
        same += mine == other
    return same / len(ours), agreed / len(ours)


def _run(study: EngineStudy, runner: Runner, batch: int, repeat: int, vocabulary: int) -> tuple[Run, Tokens]:
    """A call for one token each, with prompts of its own, then the one that counts.

    Raises Unavailable when tokens are missing.
    """
    scenario = study.scenario
    first = scenario.prompts(batch, repeat + scenario.repeats, vocabulary)
    prompt_ns = runner.ask("generate", CALL_S, prompts=first, new_tokens=1)["ns"]
    prompts = scenario.prompts(batch, repeat, vocabulary)
    told = runner.ask("generate", CALL_S, prompts=prompts, new_tokens=scenario.output_tokens)
    tokens: Tokens = told["tokens"]
    if [len(one) for one in tokens] != [scenario.output_tokens] * batch:
        raise Unavailable(f"{runner.name} gave another number of tokens than it was asked for.")
    return Run(runner.name, batch, repeat, scenario.output_tokens, told["ns"] / NS, prompt_ns / NS), tokens
