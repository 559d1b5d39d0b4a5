"""What a comparison of engines amounts to: rates, medians, ratios, verdicts.

Owns the values and the arithmetic; `engine` makes the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from ..figures import Spread
from .scenario import BEST_PEER, LINEAR, EngineBar, EngineScenario
from .verdict import Verdict

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

    def rates(self, system: str, batch: int) -> dict[int, float]:
        """Repeat -> output tokens a second."""
        return {run.repeat: run.rate for run in self._of(system, batch)}

    def rate(self, system: str, batch: int) -> Spread | None:
        """Output tokens a second."""
        return Spread.known(list(self.rates(system, batch).values()))

    def decode_rate(self, system: str, batch: int) -> float | None:
        """Median output tokens a second after the first."""
        rates = [rate for run in self._of(system, batch) if (rate := run.decode_rate) is not None]
        return median(rates) if rates else None

    def same(self, system: str, batch: int) -> float | None:
        """Mean share of requests with our tokens."""
        return _mean([run.same for run in self._of(system, batch)])

    def agreed(self, system: str, batch: int) -> float | None:
        """Mean share of tokens in front of the first that is not ours."""
        return _mean([run.agreed for run in self._of(system, batch)])

    def roof(self, batch: int) -> list[Roof]:
        return [roof for roof in self.roofs if roof.batch == batch]

    def verdicts(self) -> list[Verdict]:
        """Every bar of the scenario, in order."""
        return [self._verdict(bar) for bar in self.scenario.bars]

    def _verdict(self, bar: EngineBar) -> Verdict:
        over = bar.over
        if over == BEST_PEER:
            medians = {name: rate.median for name in self.systems[1:] if (rate := self.rate(name, bar.batch))}
            over = max(medians, key=lambda name: medians[name], default=BEST_PEER)
        others = self.rates(over, bar.batch)
        if over == LINEAR:
            others = {roof.repeat: roof.rate for roof in self.roof(bar.batch)}
        ratio = Spread.of_ratios(self.rates(OURS, bar.batch), others)
        return Verdict(f"batch {bar.batch}", "output tokens a second", over, ratio, bar.least)

    def _of(self, system: str, batch: int) -> list[Run]:
        return [run for run in self.runs if run.system == system and run.batch == batch]


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return fmean(known) if known else None
