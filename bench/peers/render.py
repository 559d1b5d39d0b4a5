"""Comparisons of engines and of servers as lines for a person, and as JSON lines.

Owns labels, rounding and the words of a verdict. It computes nothing that is not in the studies.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from ..figures import Spread
from ..machine import MachineFacts
from ..table import grid, known, ranged, verdict
from .engine_study import EngineStudy, Roof, Run
from .live_study import FIELDS, MEASURES, THROUGHPUT, LiveStudy

ROOFS: tuple[tuple[str, Callable[[Roof], float]], ...] = (
    ("linear layers alone, decode steps", lambda roof: roof.rate),
    ("linear layers alone, prompts too", lambda roof: roof.job_rate),
    ("reading the weights once a step", lambda roof: roof.read_rate),
)


# bench engine -------------------------------------------------------------------------------------
def print_engine_head(study: EngineStudy, facts: MachineFacts, device: str, model: str) -> None:
    """What is measured, on what. `device`: as it calls itself."""
    scenario = study.scenario
    print(facts.sentence() if scenario.device == "cpu" else f"{device}; {facts.sentence()}")
    print(
        f"{scenario.title}: {scenario.about}. Model {model}, {scenario.dtype} on {scenario.device}, {scenario.threads}"
        f" threads, prompts of {scenario.prompt_tokens}, outputs of {scenario.output_tokens}, {scenario.repeats}"
        f" interleaved repeats, seed {scenario.seed}\n",
        flush=True,
    )


def print_engine(study: EngineStudy) -> None:
    """Rates, shares, verdicts."""
    for name, versions in study.versions.items():
        print(f"{name}: {', '.join(f'{what} {version}' for what, version in versions.items())}")
    batches, systems = study.scenario.batches, study.systems
    heads = [f"batch {batch}" for batch in batches]
    lines = [["output tokens a second, median (smallest-largest)", *heads]]
    lines += [[name, *(ranged(study.rate(name, batch), ",.0f") for batch in batches)] for name in systems]
    for label, rate in ROOFS if study.roofs else ():
        spreads = (Spread.known([rate(roof) for roof in study.roof(batch)]) for batch in batches)
        lines.append([label, *(ranged(spread, ",.0f") for spread in spreads)])
    print("\n" + grid(lines))
    lines = [["after the first token, median", *heads]]
    lines += [[name, *(known(study.decode_rate(name, batch), ",.0f") for batch in batches)] for name in systems]
    for label, share in (
        ("requests with our tokens exactly", study.same),
        ("tokens in front of the first that is not ours", study.agreed),
    ):
        lines.append([label, *[""] * len(batches)])
        lines += [[name, *(known(share(name, batch), ".0%") for batch in batches)] for name in systems[1:]]
    print(grid(lines))
    for name, why in study.absent.items():
        print(f"{name}: {why}")
    for one in study.verdicts():
        ratio = "not measured" if one.ratio is None else ranged(one.ratio, ".2f")
        print(f"{verdict(one.holds)} {one.where}: ours over {one.over}, target >= {one.limit:g}: {ratio}")


def run_line(said: Run | Roof) -> dict[str, object]:
    """A run as an object of the JSON lines."""
    values = {name: getattr(said, name) for name in said.__slots__}
    return {"kind": "run" if isinstance(said, Run) else "roof", **values, "tokens_per_s": said.rate}


def systems_line(study: EngineStudy) -> dict[str, object]:
    """What takes part in which version, an object of the JSON lines in front of the runs."""
    versions = {name: dict(versions) for name, versions in study.versions.items()}
    return {"kind": "systems", "versions": versions, "absent": dict(study.absent)}


def summary_line(study: EngineStudy) -> dict[str, object]:
    """The last object of the JSON lines."""
    batches = study.scenario.batches
    medians = {
        name: {str(batch): rate.median for batch in batches if (rate := study.rate(name, batch)) is not None}
        for name in study.systems
    }
    roofs = {str(batch): median(roof.rate for roof in roofs) for batch in batches if (roofs := study.roof(batch))}
    bars = [
        {
            **bar.model_dump(),
            "measured_over": one.over,
            "ratio": None if one.ratio is None else one.ratio.median,
            "holds": one.holds,
        }
        for bar, one in zip(study.scenario.bars, study.verdicts(), strict=True)
    ]
    return {**systems_line(study), "kind": "summary", "medians": medians, "linear_layers": roofs, "bars": bars}


# bench live ---------------------------------------------------------------------------------------
def print_live_head(facts: MachineFacts, peer: str) -> None:
    """On what, against which peer."""
    print(facts.sentence())
    print(
        f"Against {peer}. Servers run one after the other; the load generator and the HTTP door share the processors"
        " with each of them alike.",
        flush=True,
    )


def print_live(study: LiveStudy, whole: bool) -> None:
    """A scenario: figures, ratios, verdicts."""
    scenario = study.scenario
    print(f"\n{scenario.title}: {scenario.about}")
    print(
        f"Model {scenario.model}, float32, {scenario.slots} slots, {scenario.threads} compute threads (peer"
        f" {scenario.peer_threads}), {scenario.kv_gib} GiB of KV, {scenario.requests} requests a cell,"
        f" {scenario.repeats} interleaved repeats, seed {scenario.seed}"
    )
    if (found := study.saturation) is not None:
        drains = ", ".join(f"{rate:.2f}" for rate in found["drains"])
        print(f"Saturation of {study.peer}: {found['rate_per_s']:.2f} requests a second (drains: {drains})")
    if not whole:
        print("Not all visits are made yet: run again with the same --json to go on.")
    if not study.systems:
        return
    lines = [["median (smallest-largest)", *study.systems]]
    for cell in scenario.cells:
        figures = [] if cell.load is None else [(f"{label} (s)", field, ".2f") for label, field, _ in MEASURES]
        for label, field, form in (*figures, ("output tokens a second", THROUGHPUT, ",.0f")):
            spreads = (study.spread(system, cell.name, field) for system in study.systems)
            lines.append([f"{cell.name}: {label}", *(ranged(spread, form) for spread in spreads)])
    print("\n" + grid(lines))
    print(_ratios(study), flush=True)
    for trouble in study.troubles():
        print(trouble)


def _ratios(study: LiveStudy) -> str:
    ours, *more = study.scenario.policies
    others = [name for name in more if name in study.systems]
    lines = [[f"over {study.peer}", ours, "target", "", *others, *(f"{ours}/{name}" for name in others)]]
    for one in study.verdicts():
        field, word = FIELDS[one.label], {None: "not measured", True: "ok", False: "MISSED"}[one.holds]
        ratios = [study.ratio(name, study.peer, one.where, field) for name in others]
        ratios += [study.ratio(ours, name, one.where, field) for name in others]
        target = f"{'<=' if one.at_most else '>='} {one.limit:g}"
        head = [f"{one.where}: {one.label}", ranged(one.ratio, ".2f"), target, word]
        lines.append([*head, *(ranged(ratio, ".2f") for ratio in ratios)])
    return grid(lines)
