"""Outcomes and repeated runs of the demo as lines for a person.

Owns labels, rounding and the words of a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..figures import Spread
from ..load.command import table
from ..table import known, verdict
from .fidelity import BASE, WITHIN, Fidelity, Repeat
from .runs import Outcome
from .scenario import Scenario

BUSY = "busy: not judged,"


def print_outcome(outcome: Outcome) -> None:
    """A scenario: live and simulated side by side, the oracle, the bars."""
    scenario = outcome.scenario
    print(
        f"\n{scenario.title}: {outcome.requests} jobs, {outcome.rate_per_s:.2f} a second = load {scenario.load:g}"
        f" of {outcome.drain_rate_per_s:.2f}, batch {scenario.max_batch}, KV of {scenario.kv_mean_jobs:g} mean jobs,"
        f" seed {scenario.seed}\n"
    )
    columns = [(pair.policy, pair.live) for pair in outcome.pairs]
    columns += [(f"{pair.policy} (sim)", pair.simulated) for pair in outcome.pairs]
    print(table([*columns, (f"{outcome.oracle.policy} (sim)", outcome.oracle)]))
    for pair in outcome.pairs:
        if pair.fidelity is not None:
            print(f"simulated / live mean JCT under {pair.policy}: {pair.fidelity:.3f}")
    for claim in outcome.claims():
        print(f"{BUSY if outcome.disturbed and claim.timed else verdict(claim.holds)} {claim.says}", flush=True)
    if outcome.disturbed:
        why = "; ".join(outcome.disturbed)
        print(f"The machine was busy, so what is timed is not judged (--check judges it): {why}.", flush=True)


def print_repeat(scenario: Scenario, said: Repeat) -> None:
    """One of several runs."""
    pair = said.pair
    late = "" if pair.trustworthy else f"  generator {pair.lag_p99_ms:.1f} ms late"
    apart = "  set apart" if said.apart else ""
    print(
        f"{scenario.title}, run {said.number + 1} {pair.policy:<10} live {pair.live.mean_jct_s or 0.0:8.3f} s"
        f"  simulated {pair.simulated.mean_jct_s or 0.0:8.3f} s  ratio {known(pair.fidelity, '.3f')}"
        f"  at its own speed {known(said.truth, '.3f')}  drift {said.drift:+.1%}{late}{apart}",
        flush=True,
    )
    if said.kinds:
        kinds = ", ".join(f"{kind} {one.ratio:.3f} of {one.iterations:,}" for kind, one in said.kinds.items())
        print(f"     iterations predicted / measured: {kinds}", flush=True)


def print_fidelity(said: Fidelity) -> None:
    """The verdict on all runs of a policy: simulator, cost model, mean JCT over fcfs's."""
    title = f"{said.scenario}, {said.policy}"
    truths, costs, ratios = map(_each, (said.truths, said.costs, said.ratios))
    bar = f"(bar: median within {WITHIN:.0%} of 1)"
    print(
        f"{verdict(said.faithful)} {title}: simulated / live mean JCT at each run's own speed {truths} {bar};"
        f" equal live runs differ by up to {said.live_spread:.0%}"
    )
    print(f"{verdict(said.priced)} {title}: iterations predicted / measured {costs} {bar}")
    if said.kinds:
        kinds = ", ".join(f"{kind} {ratio:.3f}" for kind, ratio in said.kinds.items())
        print(f"     {title}: the same by kind, medians: {kinds}")
    apart = f"; set apart {', '.join(f'{ratio:.3f}' for ratio in said.apart)}" if said.apart else ""
    print(f"     {title}: simulated / live mean JCT by the profiles before and after {ratios}{apart}")
    if said.over_base:
        bar = "" if said.most_over_base is None else f" (bar: median at most {said.most_over_base:g})"
        print(f"{verdict(said.early)} {title}: live mean JCT over {BASE}'s {_each(said.over_base)}{bar}")
    if said.failed:
        print(f"{verdict(False)} {title}: {said.failed} requests failed", flush=True)


def _each(ratios: Sequence[float]) -> str:
    if not ratios:
        return "not judged"
    every, spread = ", ".join(f"{ratio:.3f}" for ratio in ratios), Spread.of(ratios)
    return f"{spread.median:.3f} [{spread.low:.3f}..{spread.high:.3f}], the median of {every}"
