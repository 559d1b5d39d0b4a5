"""Names of policies, and the one place that makes them.

Owns the table from `--policy` to a constructor. It does not know who runs the policy;
engine/assemble calls `make_policy`, the commands list `POLICY_NAMES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..core.cost_model import CostModel
from ..core.errors import InvalidSettings
from ..core.policy import Policy
from .adaptive.demand import Demand
from .adaptive.head_start import DEFAULT_TAIL
from .adaptive.policy import AdaptivePolicy
from .baselines import Fcfs, FcfsSwap, LeastAttainedService, Priority, ProcessorSharing
from .lengths.forecast import Forecast
from .lines import HighestResponseRatio, TokenCounters
from .mlfq import MlfqPolicy
from .oracles import GammaBoost, SjfOracle, SrptHalf, SrptOne, SrptOracle, Trail
from .params import LadderParams, Starvation, check_starvation
from .residual import Gittins, Serpt

SLICE_QUANTA = 16
"""A slice of `las` and `ps` in level-1 quanta of the ladder: some iterations of a full batch, so
that not every turn has another one.
"""


@dataclass(frozen=True, slots=True)
class PolicyInputs:
    """Everything a policy may be made from."""

    cost: CostModel
    params: LadderParams
    starvation: Starvation
    demand: Demand
    tail: float = DEFAULT_TAIL
    forecast: Forecast | None = None

    @property
    def slice_ns(self) -> int:
        """What a job of `las` and `ps` runs before others have their turn."""
        return SLICE_QUANTA * (self.params.base_quantum_ns or self.cost.decode_ns(1, 0))


_MAKERS: dict[str, Callable[[PolicyInputs], Policy]] = {
    "skipjoin": lambda given: MlfqPolicy("skipjoin", given.cost, given.params, given.starvation),
    "fcfs": lambda given: Fcfs(),
    "adaptive": lambda given: AdaptivePolicy(
        given.cost, given.demand, given.params, tail=given.tail, forecast=given.forecast
    ),
    "mlfq": lambda given: MlfqPolicy("mlfq", given.cost, given.params, given.starvation, skip_join=False),
    "srpt-oracle": lambda given: SrptOracle(given.demand),
    "fcfs-swap": lambda given: FcfsSwap(),
    "priority": lambda given: Priority(),
    "las": lambda given: LeastAttainedService(given.slice_ns),
    "ps": lambda given: ProcessorSharing(given.slice_ns),
    "hrrn": lambda given: HighestResponseRatio(given.demand),
    "vtc": lambda given: TokenCounters(),
    "serpt": lambda given: Serpt(given.demand),
    "gittins": lambda given: Gittins(given.demand),
    "sjf-oracle": lambda given: SjfOracle(given.demand),
    "srpt-0.5": lambda given: SrptHalf(given.demand),
    "srpt-1.0": lambda given: SrptOne(given.demand),
    "trail": lambda given: Trail(given.demand),
    "gamma-boost": lambda given: GammaBoost(given.demand),
}

POLICY_NAMES: tuple[str, ...] = tuple(_MAKERS)
ORACLE_NAMES = tuple(cls.name for cls in (SrptOracle, SjfOracle, SrptHalf, SrptOne, Trail, GammaBoost))
"""Those that are told output lengths: for simulations only."""
DIAL_NAMES = (AdaptivePolicy.name,)
"""Those that are made with `tail`, and are core.dial.Dialled."""


def make_policy(
    name: str,
    cost: CostModel,
    params: LadderParams | None = None,
    starvation: str = "granted",
    *,
    max_batch: int = 64,
    room_tokens: int | None = None,
    tail: float = DEFAULT_TAIL,
    forecast: Forecast | None = None,
) -> Policy:
    """A fresh policy. `max_batch` and `room_tokens` (KV room in tokens) price demand; `tail` is the
    dial of `adaptive`, `forecast` what it learned before (none: it starts cold and goes by prompts
    alone). Raises InvalidSettings.
    """
    maker = _MAKERS.get(name)
    if maker is None:
        raise InvalidSettings(
            f"There is no policy {name!r}.", field="policy", limit=f"one of {', '.join(POLICY_NAMES)}"
        )
    demand = Demand(cost, max_batch, room_tokens)
    return maker(PolicyInputs(cost, params or LadderParams(), check_starvation(starvation), demand, tail, forecast))
