"""Which policies a server may have, and with what dial.

Owns the list and the check of what an operator asks for, at start or later. It makes no policy;
settings and the operator's service ask here.
"""

from __future__ import annotations

from ...core.errors import InvalidInput
from ...scheduler.registry import DIAL_NAMES, ORACLE_NAMES, POLICY_NAMES

LIVE_POLICIES = tuple(name for name in POLICY_NAMES if name not in ORACLE_NAMES)  # nobody knows the future here


def check_policy(name: str) -> None:
    """Raise InvalidInput, with the reason, unless a server can have the policy."""
    names = ", ".join(LIVE_POLICIES)
    if name in ORACLE_NAMES:
        raise InvalidInput(
            f"{name} ranks by output lengths, which nobody knows of a live job; skipjoin simulate runs it.",
            field="policy",
            limit=f"one of {names}",
        )
    if name not in LIVE_POLICIES:
        raise InvalidInput(f"There is no policy {name[:40]!r}.", field="policy", limit=f"one of {names}")


def dial_of(policy: str, asked: float | None, configured: float) -> float | None:
    """Where the policy's dial is to stand: as asked, else as configured, None where it has none.
    Raises InvalidInput.
    """
    if policy not in DIAL_NAMES:
        if asked is not None:
            raise InvalidInput(
                f"The policy {policy} has no dial; leave tail out.",
                field="tail",
                limit=f"only with {', '.join(DIAL_NAMES)}",
            )
        return None
    if asked is not None and not 0.0 <= asked <= 1.0:
        raise InvalidInput(f"tail is {asked:g}.", field="tail", limit="0 (lowest mean) to 1 (safest tail)")
    return configured if asked is None else asked
