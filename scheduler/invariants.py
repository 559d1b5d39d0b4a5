"""What holds of every policy between two events.

Owns `check`, which reads a policy through the questions everybody may ask, and the ladder's own
books where there are any. It changes nothing; tests call it after every step, the engine when it is
told to check itself.
"""

from __future__ import annotations

from itertools import pairwise

from ..core.errors import InvariantViolation
from ..core.policy import Policy, Tick
from .adaptive.policy import AdaptivePolicy
from .mlfq import MlfqPolicy


def check(policy: Policy, tick: Tick) -> None:
    """Raise InvariantViolation naming the first rule found broken. O(jobs)."""
    ranked = list(policy.order(tick))
    keys = [key for key, _ in ranked]
    _hold(all(a < b for a, b in pairwise(keys)), "the order is strictly rising")
    for key, handle in ranked:
        _hold(key[-1] == handle, f"the key of job {handle} ends in its handle")
        _hold(policy.key(handle, tick) == key, f"order and key agree about job {handle}")
    handles = {handle for _, handle in ranked}
    _hold(len(handles) == len(ranked), "nobody stands in two places")
    per_level: dict[int, int] = {}
    for handle in handles:
        per_level[policy.level(handle)] = per_level.get(policy.level(handle), 0) + 1
    for level, jobs, running, wait_ns in policy.depths(tick):
        _hold(jobs == per_level.pop(level, 0), f"level {level} counts its jobs")
        _hold(0 <= running <= jobs, f"level {level} runs no more jobs than it has")
        _hold(wait_ns >= 0 and (wait_ns == 0 or running < jobs), f"the longest wait of level {level} is somebody's")
    _hold(not per_level, "every level with jobs is reported")
    offers = list(policy.offers())
    _hold(len(set(offers)) == len(offers) and handles.issuperset(offers), "offers are open jobs, each once")
    if isinstance(policy, (MlfqPolicy, AdaptivePolicy)):
        policy.audit(tick, _hold)


def _hold(true: bool, rule: str) -> None:
    if not true:
        raise InvariantViolation(f"The policy broke a rule: {rule}.")
