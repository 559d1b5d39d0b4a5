"""The yardsticks: policies that are told output lengths, exactly or with an error, which nobody
knows where jobs are served.

Owns what they share (the refusal of a job without a length, the demand of what is left) and their
indices. They know jobs by their entries and prices by `Demand`; `registry` makes them and lists
them, so that `serve` can refuse them.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from statistics import NormalDist
from typing import ClassVar

from ..core.errors import InvalidSettings
from ..core.ids import Handle, Level
from ..core.policy import JobAttributes, Tick
from .account import JobEntry
from .adaptive.demand import Demand
from .index import IndexPolicy


class KnownLengths(IndexPolicy):
    """The base: a job's demand follows from its length."""

    def __init__(self, demand: Demand) -> None:
        super().__init__()
        self._demand = demand

    def submitted(self, attributes: JobAttributes, tick: Tick) -> Level:
        """As the base, but the output length must be known. Raises InvalidSettings."""
        if attributes.output_tokens is None:
            raise InvalidSettings(
                f"{self.name} needs every job's output length, which only a trace knows; use it with simulate.",
                field="policy",
            )
        return super().submitted(attributes, tick)

    def expected_tokens(self, attributes: JobAttributes) -> int:
        """What the policy takes for the length of the whole output: here the truth."""
        return attributes.output_tokens or 0

    def left_ns(self, job: JobEntry, tick: Tick) -> int:
        """Demand of what is left of prompt and output; 0 once the expected output is out."""
        attributes, left = job.attributes, job.prefill_left_tokens
        done = job.output_tokens(tick)
        # The chunk that ends a prefill emits a token of its own.
        decodes = self.expected_tokens(attributes) - done - (1 if job.prefilling else 0)
        context = attributes.prompt_tokens + done
        return self._demand.prefill_ns(left, max(context - left, 0)) + self._demand.decode_ns(decodes, context)


class SrptOracle(KnownLengths):
    """Shortest remaining demand first with exact output lengths and free moves: the best mean on
    one server (Schrage, 1968).
    """

    name = "srpt-oracle"
    moves_are_free = True

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """Demand of what is left of prompt and output."""
        return (self.left_ns(job, tick),)


class SjfOracle(KnownLengths):
    """Shortest demand first with exact output lengths, and who has begun runs to completion: what
    lengths buy without preemption.
    """

    name = "sjf-oracle"
    preempts = False
    lower_may_pass = False

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """Those that have begun by arrival, the others by demand."""
        return (0, job.attributes.arrival_ns) if job.begun else (1, self.left_ns(job, tick))


class EstimatedLengths(KnownLengths):
    """The base of policies whose lengths are wrong by a factor exp(N(0, sigma^2)), drawn once a job
    from the handle and the seed.

    Who outlives its estimate is thought to be done at any moment. Moves take their time: this is
    what a predictor could buy.
    """

    sigma: ClassVar[float]

    def __init__(self, demand: Demand, seed: int = 0) -> None:
        super().__init__(demand)
        self._seed = seed
        self._expected: dict[Handle, int] = {}

    def submitted(self, attributes: JobAttributes, tick: Tick) -> Level:
        """As the base, with an estimate in place of the length."""
        if attributes.output_tokens is not None:
            factor = math.exp(self.sigma * standard_normal(self._seed, attributes.handle))
            self._expected[attributes.handle] = max(round(attributes.output_tokens * factor), 1)
        return super().submitted(attributes, tick)

    def removed(self, handle: Handle, tick: Tick, *, finished: bool = True) -> None:
        """As the base."""
        super().removed(handle, tick, finished=finished)
        del self._expected[handle]

    def expected_tokens(self, attributes: JobAttributes) -> int:
        """The estimate."""
        return self._expected[attributes.handle]

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """Estimated demand of what is left."""
        return (self.left_ns(job, tick),)


class SrptHalf(EstimatedLengths):
    """Shortest remaining demand first, lengths known within a factor of 1.6 two times in three:
    about a good predictor.
    """

    name = "srpt-0.5"
    sigma = 0.5


class SrptOne(EstimatedLengths):
    """The same within a factor of 2.7: about a poor one."""

    name = "srpt-1.0"
    sigma = 1.0


class Trail(EstimatedLengths):
    """Shortest remaining demand first by estimate, and a job with `KEPT` of its estimated output
    behind it is preempted by no other than its like.

    After TRAIL (Shahout et al., ICLR 2025), which limits preemption because what is preempted late
    holds much KV. Its estimates get better as a job talks; these do not.
    """

    name = "trail"
    sigma = 0.5
    KEPT: ClassVar[float] = 0.8

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """Those that are kept first, then by estimated demand of what is left."""
        kept = job.output_tokens(tick) >= self.KEPT * self.expected_tokens(job.attributes)
        return (0 if kept else 1, self.left_ns(job, tick))


class GammaBoost(KnownLengths):
    """First come first served with a head start for small jobs: rank = arrival - ln(1 / (1 -
    exp(-gamma * size))) / gamma.

    Yu and Scully, "Strongly tail-optimal scheduling in the light-tailed M/G/1" (2024). The size is
    the demand, in classes of a factor of two; 1/gamma is `MEAN_SIZES` times the mean of the sizes
    seen so far, taken when the job comes.
    """

    name = "gamma-boost"
    ages = False
    MEAN_SIZES: ClassVar[int] = 100

    def __init__(self, demand: Demand) -> None:
        super().__init__(demand)
        self._sizes = self._size_sum_ns = 0
        self._starts: dict[Handle, int] = {}

    def submitted(self, attributes: JobAttributes, tick: Tick) -> Level:
        """As the base; the head start is settled here."""
        if attributes.output_tokens is not None:
            size_ns = 1 << self.left_ns(JobEntry(attributes, tick), tick).bit_length()
            self._sizes += 1
            self._size_sum_ns += size_ns
            scale_ns = self.MEAN_SIZES * self._size_sum_ns / self._sizes
            head_start_ns = -scale_ns * math.log(-math.expm1(-size_ns / scale_ns))
            self._starts[attributes.handle] = attributes.arrival_ns - round(head_start_ns)
        return super().submitted(attributes, tick)

    def removed(self, handle: Handle, tick: Tick, *, finished: bool = True) -> None:
        """As the base."""
        super().removed(handle, tick, finished=finished)
        del self._starts[handle]

    def index(self, job: JobEntry, tick: Tick) -> tuple[int, ...]:
        """Boosted arrival."""
        return (self._starts[job.attributes.handle],)


def standard_normal(seed: int, handle: Handle) -> float:
    """A draw from N(0, 1) that is the same wherever and whenever it is made."""
    digest = blake2b(f"{seed}/{handle}".encode(), digest_size=8).digest()
    return NormalDist().inv_cdf(((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52)
