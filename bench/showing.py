"""The demo as it was asked for: scenarios or the fidelity runs, shown as they come.

Owns the folder that profiles lie in and the order of scenarios. It measures and renders through others; the command hands it the wish and gets the
JSON value and whether every bar held.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.clock import MonotonicClock
from .demo import Stage, check_policies, ensure_model, show
from .fidelity import Fidelity, repeat
from .progress import Bar
from .render import print_fidelity, print_repeat, print_shown
from .scenario import FOLDER, Scenario, load_scenario, scenario_names

Value = dict[str, object]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the flags say. No `scenarios`: those that ship. `fidelity`: how often to run each of them instead. `record`: where records are kept.

    `strict`: bars count on a busy machine as well, and a fidelity that no run could say does not hold.
    """

    scenarios: tuple[Path, ...]
    policies: tuple[str, ...]
    fidelity: int | None
    record: Path | None
    strict: bool = False


def perform(wish: Wish) -> tuple[Value, bool]:
    """Do it. Raises InvalidSettings, Unavailable, InternalError."""
    paths = wish.scenarios or tuple(FOLDER / f"{name}.toml" for name in scenario_names())
    scenarios = [load_scenario(path) for path in paths]
    check_policies(wish.policies)
    with Bar() as bar, tempfile.TemporaryDirectory(prefix="skipjoin-demo-") as folder:
        models: dict[str, Path] = {}
        for name in sorted({str(scenario.model) for scenario in scenarios}):
            models[name] = ensure_model(name, bar)
        stage = Stage(models, Path(folder), wish.record, MonotonicClock(), bar)
        if wish.fidelity is not None:
            return _fidelity(scenarios, wish.policies, wish.fidelity, stage, strict=wish.strict)
        return _scenarios(scenarios, wish.policies, stage, strict=wish.strict)


def _scenarios(
    scenarios: Sequence[Scenario], policies: Sequence[str], stage: Stage, *, strict: bool
) -> tuple[Value, bool]:
    outcomes = []
    for scenario in scenarios:
        outcomes.append(show(scenario, policies, stage))
        print_shown(outcomes[-1])
    holds = all(shown.holds(strict=strict) for shown in outcomes)
    return {"scenarios": [shown.as_json() for shown in outcomes]}, holds


def _fidelity(
    scenarios: Sequence[Scenario], policies: Sequence[str], times: int, stage: Stage, *, strict: bool
) -> tuple[Value, bool]:
    verdicts = []
    for scenario in scenarios:
        for said in repeat(scenario, policies, times, stage):
            if isinstance(said, Fidelity):
                print_fidelity(said)
                verdicts.append(said)
            else:
                print_repeat(scenario, said)
    # A policy whose requests all failed has no verdict, and must not pass for one that holds.
    whole = len(verdicts) == len(scenarios) * len(set(policies))
    value: Value = {"fidelity": [_told(one) for one in verdicts]}
    # Where every run was set apart nothing says that the profile is true.
    return value, whole and all(
        one.holds and (None not in (one.faithful, one.priced) or not strict) for one in verdicts
    )


def _told(one: Fidelity) -> Value:
    return asdict(one) | {"median": one.median, "median_over_base": one.median_over_base, "holds": one.holds}
