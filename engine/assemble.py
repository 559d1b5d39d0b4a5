"""The pure half, put together: policy, ledger, planner, rows.

Owns the one place where floor-2 parts meet, so that serve, simulate, bench and `skipjoin.LLM` run
the same engine. It does not know the executor but by its facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core.cost_model import CostModel
from ..core.executor import ExecutorFacts
from ..core.policy import Policy
from ..kvstore.ledger import Ledger
from ..kvstore.planning.budget import PrefillBudget
from ..kvstore.planning.context import Rules
from ..kvstore.planning.planner import Planner
from ..scheduler.lengths.learned import fresh, read
from ..scheduler.params import LadderParams
from ..scheduler.registry import make_policy
from .emission import Emission
from .params import EngineParams
from .state import EngineState

QUIET_QUANTA = 4
"""An iteration may take this many level-1 quanta beside a small decode batch (docs/algorithm.md).
"""


def assemble(
    policy: str,
    cost: CostModel,
    facts: ExecutorFacts,
    params: EngineParams,
    *,
    end_tokens: frozenset[int] = frozenset(),
    token_bytes: Sequence[bytes] | None = None,
    learned: bytes | None = None,
) -> EngineState:
    """An engine without jobs. `token_bytes` (token id -> bytes) is needed for stop strings only;
    `learned` is what `EngineState.learned` said in an earlier life, or nothing. Raises
    InvalidSettings, and InvalidInput for `learned` of another form.
    """
    forecast = fresh() if learned is None else read(learned)  # one for all policies to come: a switch forgets nothing
    room_tokens = facts.device_pages * facts.page_tokens
    ladder = params.ladder or LadderParams()
    # Quanta are those of the start even where a policy is chosen later, when a corrected model
    # predicts something else.
    base_ns = ladder.base_quantum_ns or cost.decode_ns(1, 0)
    ladder = replace(ladder, base_quantum_ns=base_ns)

    def policy_of(name: str, tail: float | None = None) -> Policy:
        return make_policy(
            name,
            cost,
            ladder,
            params.starvation,
            max_batch=params.max_batch,
            room_tokens=room_tokens,
            tail=params.tail if tail is None else tail,
            forecast=forecast,
        )

    ledger = Ledger(facts.device_pages, facts.host_pages, facts.page_tokens, facts.generation)
    planner = Planner(ledger, _rules(cost, params, base_ns, facts.page_tokens))
    most = room_tokens if facts.max_context_tokens is None else min(room_tokens, facts.max_context_tokens)
    emission = Emission(params.max_batch, facts.vocab_size, end_tokens, token_bytes)
    return EngineState(
        policy_of(policy),
        planner,
        emission,
        cost,
        policy_of,
        forecast,
        max_tokens=most,
        run_ahead=params.run_ahead,
        validates=params.validate_every_turn,
    )


def _rules(cost: CostModel, params: EngineParams, base_ns: int, page_tokens: int) -> Rules:
    quiet_ns = max(QUIET_QUANTA * base_ns, round(params.iteration_ms * 1e6))
    return Rules(
        cost,
        params.kv,
        PrefillBudget(cost, quiet_ns, params.max_prefill_tokens, page_tokens),
        params.max_batch,
        alternate=params.preempt_every_turn,
        plan_every_turn=params.plan_every_turn,
    )
