"""What no schedule of a workload can beat, and what the best known one reaches: the figures that a
policy's mean JCT is read against.

Owns the two bounds that need no run, each with a sentence on what it proves. It knows the cost
model and columns of lengths and arrivals, no policy and no engine; `study` and the benchmark matrix
ask it and add the oracle's run, which is no bound but the yardstick.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from ..core.cost_model import CostModel
from ..scheduler.adaptive.demand import Demand
from ..workload.requests import Workload

NS = 1e9
ORACLE = "srpt-oracle"
NO_SLOTS = 2**62
"""A batch so large that a slot of it costs nothing: what is left is the price of KV room."""

LABELS: dict[str, str] = {
    "alone": "each job by itself, its prompt in one chunk: a bound, but for prompts that are cheaper in chunks; "
    "knows no queue",
    "work": "one server, least work left first, each job charged the least it can cost in full batches: proved for "
    "any schedule, loose",
    "oracle": f"{ORACLE}: lengths known, moves free, real iterations; a schedule and no bound, another may be better",
}
"""Name of a figure -> what it is, what it proves and what not."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Mean JCTs in seconds over the counted jobs; `oracle` is None where nobody ran it."""

    alone: float
    work: float
    oracle: float | None = None

    def as_json(self) -> dict[str, float | None]:
        """The object as it stands in the JSON."""
        return asdict(self)


def bounds(
    cost: CostModel, max_batch: int, room_tokens: int, workload: Workload, oracle: float | None = None
) -> Bounds:
    """The bounds of `workload` on a machine of that batch and KV room.

    Only counted jobs enter: without the warm-up a schedule can only be quicker for them, so the
    bounds hold for their mean as it is measured. An iteration's fixed time is at least what its
    members are charged of it, by slots and by KV; both give a bound and the larger one counts.
    """
    counted = slice(workload.warmup, None)
    arrivals: list[int] = workload.arrival_ns[counted].tolist()
    lengths = list(zip(workload.prompt_tokens[counted].tolist(), workload.output_tokens[counted].tolist(), strict=True))
    prices = (Demand(cost, max_batch), Demand(cost, NO_SLOTS, room_tokens))
    work = max(
        _mean_s(
            end - arrival
            for end, arrival in zip(
                srpt_ends_ns(arrivals, [work_ns(price, *job) for job in lengths]), arrivals, strict=True
            )
        )
        for price in prices
    )
    return Bounds(_mean_s(cost.alone_ns(*job) for job in lengths), work, oracle)


def work_ns(price: Demand, prompt_tokens: int, output_tokens: int) -> int:
    """The least a job of these lengths can add to the time of its iterations, `price`'s share of
    the fixed time included.

    A prompt costs least in chunks of one token, because a token is then charged for no context
    behind it: half of what it costs at once.
    """
    prompt_ns = (prompt_tokens * price.prefill_ns(1, 0) + price.prefill_ns(prompt_tokens, 0)) // 2
    return prompt_ns + price.decode_ns(output_tokens - 1, prompt_tokens)


def srpt_ends_ns(arrival_ns: Sequence[int], work_ns: Sequence[int]) -> list[int]:
    """When each job ends on one server that always runs the job with the least work left; arrivals
    in order. O(n log n).
    """
    ends = [0] * len(arrival_ns)
    waiting: list[tuple[int, int]] = []  # work left, job
    now, fed = 0, 0
    while waiting or fed < len(arrival_ns):
        if not waiting:
            now = max(now, arrival_ns[fed])
        while fed < len(arrival_ns) and arrival_ns[fed] <= now:
            heapq.heappush(waiting, (work_ns[fed], fed))
            fed += 1
        left, job = heapq.heappop(waiting)
        if fed < len(arrival_ns) and arrival_ns[fed] < now + left:
            heapq.heappush(waiting, (left - (arrival_ns[fed] - now), job))
            now = arrival_ns[fed]
        else:
            now += left
            ends[job] = now
    return ends


def _mean_s(values_ns: Iterable[int]) -> float:
    values = list(values_ns)
    return math.fsum(values) / len(values) / NS
