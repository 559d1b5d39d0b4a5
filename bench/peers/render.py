"""Comparisons of engines and of servers as lines for a person, as JSON lines and as pictures: one bar
or line per system, one mark per repeat.

Owns labels, rounding and the words of a verdict. It computes nothing that is not in the studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ..charts.bars import Bar, BarChart, bar_sheet
from ..charts.lines import Line, LineChart, line_sheet
from ..charts.looks import Look
from ..machine import MachineFacts
from ..table import grid, known, ranged, verdict
from .contest import FIELDS, MEASURES, THROUGHPUT, LiveStudy
from .engine import EngineStudy, Roof, Run
from .scenario import LINEAR

COLOURS = ("blue", "orange", "aqua", "violet", "magenta", "brown")


def engine_picture(study: EngineStudy, words: str) -> str:
    """An SVG file; `words` say on what it was measured."""
    charts = [_rates(study, batch) for batch in study.scenario.batches]
    return bar_sheet("Output tokens a second by batch", charts, 330.0, words)


def _rates(study: EngineStudy, batch: int) -> BarChart:
    known = {name: list(study.values(name, batch).values()) for name in (*study.systems, LINEAR)}
    bars = [
        Bar(
            name,
            median(rates),
            "ink" if name == LINEAR else COLOURS[at % len(COLOURS)],
            f"{name}: {', '.join(f'{rate:,.0f}' for rate in rates)}",
            rates,
        )
        for at, (name, rates) in enumerate(known.items())
        if rates
    ]
    return BarChart([bars], f"batch {batch}", "tokens a second")


def live_picture(studies: Sequence[LiveStudy], words: str) -> str:
    """An SVG file, a row a scenario; `words` say on what it was measured."""
    shown = [study for study in studies if study.visits and study.scenario.loads]
    names = list(dict.fromkeys(name for study in shown for name in study.systems))
    looks = {name: Look(COLOURS[at % len(COLOURS)]) for at, name in enumerate(names)}
    rows = [[_latencies(study, label, field, looks) for label, field, _ in MEASURES] for study in shown]
    return line_sheet("Latency against load, servers side by side", rows, 330.0, 250.0, words)


def _latencies(study: LiveStudy, label: str, field: str, looks: dict[str, Look]) -> LineChart:
    lines = []
    for name in study.systems:
        values = {
            cell.load: found
            for cell in study.scenario.cells
            if cell.load is not None and (found := study.values(name, cell.name, field))
        }
        points = [(load, median(found.values())) for load, found in values.items()]
        dots = [(load, value) for load, found in values.items() for value in found.values()]
        said = f"{name}: {', '.join(f'{value:.3g} s at {load:g}' for load, value in points)}"
        lines += [Line(name, points, looks[name], said, dots)] if points else []
    x_words, title = f"load over the saturation of {study.peer}", f"{study.scenario.title}: {label}"
    return LineChart(lines, x_words, "seconds", title, "y", list(study.scenario.loads), legend=True)


ROOFS = {
    "linear layers alone, decode steps": "rate",
    "linear layers alone, prompts too": "job_rate",
    "reading the weights once a step": "read_rate",
}
SHARES = {
    "requests with our tokens exactly": "same",
    "tokens in front of the first that is not ours": "agreed",
}
"""Label -> figure."""


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


def print_engine(study: EngineStudy, taken_s: float) -> None:
    """Rates, shares, verdicts, and how long it took."""
    for name, versions in study.versions.items():
        print(f"{name}: {', '.join(f'{what} {version}' for what, version in versions.items())}")
    batches, systems = study.scenario.batches, study.systems
    heads = [f"batch {batch}" for batch in batches]
    lines = [["output tokens a second, median (smallest-largest)", *heads]]
    rows = [(name, name, "rate") for name in systems]
    rows += [(label, LINEAR, figure) for label, figure in ROOFS.items() if study.roofs]
    for label, name, figure in rows:
        lines.append([label, *(ranged(study.spread(name, batch, figure), ",.0f") for batch in batches)])
    print("\n" + grid(lines))
    lines = [["after the first token, median", *heads]]
    for name in systems:
        spreads = (study.spread(name, batch, "decode_rate") for batch in batches)
        lines.append([name, *(known(spread.median if spread else None, ",.0f") for spread in spreads)])
    for label, figure in SHARES.items():
        lines.append([label, *[""] * len(batches)])
        lines += [[name, *(known(study.mean(name, batch, figure), ".0%") for batch in batches)] for name in systems[1:]]
    print(grid(lines))
    for name, why in study.absent.items():
        print(f"{name}: {why}")
    for one in study.verdicts():
        ratio = "not measured" if one.ratio is None else ranged(one.ratio, ".2f")
        print(f"{verdict(one.holds)} {one.where}: ours over {one.over}, target >= {one.limit:g}: {ratio}")
    print(f"\nMeasured in {taken_s:.0f} s")


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
        name: {str(batch): rate.median for batch in batches if (rate := study.spread(name, batch)) is not None}
        for name in (*study.systems, LINEAR)
    }
    roofs = medians.pop(LINEAR)
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
