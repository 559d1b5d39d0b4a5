"""What an offline comparison amounts to: rates, medians, ratios, verdicts.

Owns the values and the arithmetic. It neither measures nor renders; `measure` makes the runs, `render` and `plot` show what is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from ..figures import Spread
from .scenario import BEST_PEER, LINEAR, Bar, Scenario

OURS = "skipjoin"


@dataclass(frozen=True, slots=True)
class Run:
    """One system decoding one batch. `seconds`: the whole call; `prompt_seconds`: a call for one token each, with prompts of the same length.

    `same` is the share of requests whose tokens are all ours, `agreed` the mean share of a request's tokens in front of the first that is not; None
    in our own runs. In half a precision sums in another order choose another token now and then, and everything behind it is another text.
    """

    system: str
    batch: int
    repeat: int
    output_tokens: int
    seconds: float
    prompt_seconds: float
    same: float | None = None
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
    """The model's linear layers alone: a decode step of `batch` tokens, the pass over the batch's prompts; and reading the weights once."""

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
        """Output tokens a second of the same jobs, prompts included, if nothing but linear layers took time."""
        whole_s = self.prompt_seconds + (self.output_tokens - 1) * self.step_seconds
        return self.batch * self.output_tokens / whole_s

    @property
    def read_rate(self) -> float:
        """Tokens a second if a step were one reading of the weights."""
        return self.batch / self.read_seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar beside what was measured; `ratio` is None when what it asks about was not measured."""

    bar: Bar
    over: str
    ratio: Spread | None

    @property
    def holds(self) -> bool | None:
        """None when nobody can tell."""
        return None if self.ratio is None else self.ratio.median >= self.bar.least


@dataclass(slots=True)
class Study:
    """All runs. `versions` by system; `absent`: why a peer is not there, by name; `failed`: those of them that should have been."""

    scenario: Scenario
    runs: list[Run] = field(default_factory=list)
    roofs: list[Roof] = field(default_factory=list)
    versions: dict[str, Mapping[str, str]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
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
        rates = self.rates(system, batch)
        return Spread.of(list(rates.values())) if rates else None

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
        """The repeats."""
        return [roof for roof in self.roofs if roof.batch == batch]

    def verdicts(self) -> list[Verdict]:
        """Every bar of the scenario; a ratio is taken in each repeat, so that a slow minute meets both sides."""
        return [self._verdict(bar) for bar in self.scenario.bars]

    def _verdict(self, bar: Bar) -> Verdict:
        over, others = bar.over, {}
        if bar.over == LINEAR:
            others = {roof.repeat: roof.rate for roof in self.roof(bar.batch)}
        else:
            if bar.over == BEST_PEER:
                known = {
                    name: rate.median
                    for name in self.systems
                    if name != OURS and (rate := self.rate(name, bar.batch)) is not None
                }
                over = max(known, key=lambda name: known[name]) if known else BEST_PEER
            others = self.rates(over, bar.batch)
        ratios = [rate / others[at] for at, rate in self.rates(OURS, bar.batch).items() if at in others]
        return Verdict(bar, over, Spread.of(ratios) if ratios else None)

    def _of(self, system: str, batch: int) -> list[Run]:
        return [run for run in self.runs if run.system == system and run.batch == batch]


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None
