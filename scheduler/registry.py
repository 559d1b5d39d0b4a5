"""Names of policies, and the one place that makes them.

Owns the table from `--policy` to a constructor. It does not know who runs the policy; engine/assemble calls `make_policy`, the commands
list `POLICY_NAMES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..core.errors import InvalidSettings
from ..core.ports import CostModel, Policy
from .baselines import Fcfs, SrptOracle
from .demand import Demand
from .mlfq import MlfqPolicy
from .params import LadderParams, Starvation, check_starvation


@dataclass(frozen=True, slots=True)
class PolicyInputs:
    """Everything a policy may be made from."""

    cost: CostModel
    params: LadderParams
    starvation: Starvation
    demand: Demand


_MAKERS: dict[str, Callable[[PolicyInputs], Policy]] = {
    "skipjoin": lambda given: MlfqPolicy("skipjoin", given.cost, given.params, given.starvation),
    "fcfs": lambda given: Fcfs(),
    "mlfq": lambda given: MlfqPolicy("mlfq", given.cost, given.params, given.starvation, skip_join=False),
    "srpt-oracle": lambda given: SrptOracle(given.demand),
}

POLICY_NAMES: tuple[str, ...] = tuple(_MAKERS)


def make_policy(
    name: str,
    cost: CostModel,
    params: LadderParams | None = None,
    starvation: str = "granted",
    *,
    max_batch: int = 64,
    room_tokens: int | None = None,
) -> Policy:
    """A fresh policy. `max_batch` and `room_tokens` (KV room in tokens) price demand for the oracle. Raises InvalidSettings."""
    maker = _MAKERS.get(name)
    if maker is None:
        raise InvalidSettings(
            f"There is no policy {name!r}.", field="policy", limit=f"one of {', '.join(POLICY_NAMES)}"
        )
    demand = Demand(cost, max_batch, room_tokens)
    return maker(PolicyInputs(cost, params or LadderParams(), check_starvation(starvation), demand))
