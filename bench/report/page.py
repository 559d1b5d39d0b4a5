"""The report as one HTML page that needs nothing else: no script, no font, no picture from
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from ..charts.looks import CSS, legend, ordered
from ..charts.marks import tag
from ..charts.plane import Others, Spot, plane
from ..charts.timeline import last_s, timeline
from ..matrix.summary import FCFS, HIGHEST_EDGE, LEGEND, ORACLE, Cell, Results, average_of, collect, summary
from .charts import against_load, cdf
from .tables import heat_map, summary_table

USUAL_BATCH = 64
SHOWN_SMALL = ("fcfs", "skipjoin", "adaptive", ORACLE)
Line = dict[str, Any]


def page(lines: Sequence[Line]) -> str:
    """The whole document."""
    results = collect(lines)
    small = [line for line in lines if line["kind"] == "timeline"]
    sections = [
        _head(lines, results),
        _summary(results),
        _planes(results, _others(lines)),
        _heat(results),
        _loads(results),
        _distributions(results),
        _timelines(small),
        _footer(lines),
    ]
    head = tag(
        "head",
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">',
        "<title>skipjoin: policies compared</title>",
        tag("style", CSS),
    )
    body = tag("body", tag("main", *sections))
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def traces_of(results: Results) -> dict[str, str]:
    """Traces in order of appearance, with the names a person reads."""
    names = dict.fromkeys(cell.trace for cell in results.cells)
    return {name: name.removeprefix("shape:") + (" (shape)" if name.startswith("shape:") else "") for name in names}


def main_batch(results: Results) -> int:
    """The batch that is drawn first: 64 where it is there, else the middle one."""
    batches = sorted({cell.batch for cell in results.cells})
    return USUAL_BATCH if USUAL_BATCH in batches else batches[len(batches) // 2]


def _batches(results: Results) -> list[int]:
    """The main one first."""
    main = main_batch(results)
    return [main, *sorted({cell.batch for cell in results.cells} - {main})]


def _figure(inside: str, caption: str, more: str = "") -> str:
    beside = f" <span>{escape(more)}</span>" if more else ""
    return tag("figure", tag("figcaption", escape(caption) + beside), inside)


def _section(heading: str, words: str, *inside: str) -> str:
    return tag("section", tag("h2", escape(heading)), tag("p", escape(words)), *inside)


def _panels(figures: Iterable[str], kind: str = "panels") -> str:
    return tag("div", *figures, class_=kind)


def _head(lines: Sequence[Line], results: Results) -> str:
    last: Line = next((line["key"] for line in reversed(lines) if line["kind"] == "run"), {})
    facts = (
        ("traces", len({cell.trace for cell in results.cells})),
        ("loads", ", ".join(f"{load:g}" for load in sorted({cell.load for cell in results.cells}))),
        ("batches", ", ".join(str(batch) for batch in sorted({cell.batch for cell in results.cells}))),
        ("runs of a cell", max(results.seeds.values(), default=0)),
        ("counted requests", f"{last.get('requests', 0):,} after {last.get('warmup', 0):,}"),
        ("profile", last.get("profile", "")),
    )
    shown = (tag("span", f"{escape(name)} <b>{escape(str(value))}</b>") for name, value in facts)
    lead = "The same jobs through the same engine in virtual time, under every policy: who waits, and for how long."
    return tag(
        "header",
        tag("h1", "Policies compared"),
        tag("p", lead, class_="lead"),
        tag("div", *shown, class_="facts"),
        legend(results.policies),
    )


def _summary(results: Results) -> str:
    words = (
        f"{LEGEND[0].upper()}{LEGEND[1:]}. JCT is the time from arrival to the last token; the best average is marked."
    )
    return _section("In one table", words, summary_table(summary(results)))


def _spots(results: Results, cells: list[Cell]) -> list[Spot]:
    spots = []
    for policy in results.policies:
        mean = average_of(results.to_fcfs(cell, policy, "mean") for cell in cells)
        late = average_of(results.to_fcfs(cell, policy, "p99") for cell in cells)
        if mean is not None and late is not None:
            spots.append(Spot(policy, mean.mean, late.mean))
    return spots


def _others(lines: Sequence[Line]) -> list[Others]:
    """Fronts that the matrix file gave; of two under one name the later."""
    keys = {line["key"]["name"]: line["key"] for line in lines if line["kind"] == "reference"}
    return [
        Others(key["name"], key["source"], tuple((mean, late) for mean, late in key["points"])) for key in keys.values()
    ]


def _planes(results: Results, others: list[Others]) -> str:
    edge = [cell for cell in results.cells if cell.load <= HIGHEST_EDGE]
    over = [cell for cell in results.cells if cell.load > HIGHEST_EDGE]
    figures = []
    for cells, caption in ((edge, "Loads up to 0.95"), (over, "Overload")):
        if spots := _spots(results, cells):
            figures.append(_figure(plane(spots, f"Mean against P99, {caption}"), caption, f"{len(cells)} cells"))
    if others and (spots := _spots(results, results.cells)):
        drawn = plane(spots, "Mean against P99, all loads", others)
        figures.append(_figure(drawn, "All loads", f"{len(results.cells)} cells"))
    words = (
        "What a policy gives on average, and what it takes from the last percent. Ratios to fcfs, averaged over cells: left and low is better. "
        "The dashed line joins the policies that no other beats in both; rings know every length, which no server does."
        " A line through numbers is one policy at those settings of its dial."
    )
    if others:
        words += " Squares are what others reached: " + "; ".join(f"{one.name} ({one.source})" for one in others) + "."
    return _section("Mean against tail", words, _panels(figures, "two")) if figures else ""


def _heat(results: Results) -> str:
    traces = traces_of(results)
    maps = [(batch, heat_map(results, batch, traces)) for batch in _batches(results)]
    shown = [tag("h3", f"batch {batch}") + table for batch, table in maps if table]
    if not shown:
        return ""
    words = (
        "Mean JCT over that of the oracle, which knows every length and moves KV for nothing; 1.00 would be as good as that. "
        "The stronger the blue, the farther."
    )
    return _section("How far from the oracle", words, shown[0], _more("other batches", shown[1:]))


def _more(words: str, inside: list[str]) -> str:
    return tag("details", tag("summary", escape(words)), *inside) if inside else ""


def _loads(results: Results) -> str:
    blocks = []
    for batch in _batches(results):
        for measure, words in (("mean", "mean JCT"), ("p99", "P99 JCT")):
            charts = [
                (name, against_load(results, trace, batch, measure, words))
                for trace, name in traces_of(results).items()
            ]
            figures = [_figure(chart, name) for name, chart in charts if chart]
            blocks.append(tag("h3", f"{words} over that of fcfs, batch {batch}") + _panels(figures))
    return _section(
        "Against load",
        "Load is the arrival rate over the rate at which the machine drains the same jobs under fcfs. "
        "Below 1 is better than fcfs, on a logarithmic axis; point at a line for seconds.",
        legend(results.policies),
        *blocks[:2],
        _more("other batches", blocks[2:]),
    )


def _distributions(results: Results) -> str:
    main, traces = main_batch(results), traces_of(results)
    loads = sorted({cell.load for cell in results.cells})
    steady = [load for load in loads if load <= HIGHEST_EDGE]
    chosen = list(dict.fromkeys((main, load) for load in (*steady[-1:], loads[-1])))

    def panels(batch: int, load: float) -> str:
        cells = [cell for cell in results.cells if cell.batch == batch and cell.load == load]
        figures = [_figure(cdf(results, cell), traces[cell.trace]) for cell in cells]
        return tag("h3", f"load {load:g}, batch {batch}") + _panels(figures) if figures else ""

    rest = [panels(batch, load) for batch in _batches(results) for load in loads if (batch, load) not in chosen]
    return _section(
        "Who waits how long",
        "Distribution of job completion times. A line further left serves that share of the jobs sooner; "
        "where lines cross, some jobs paid.",
        legend(results.policies),
        *(panels(*one) for one in chosen),
        _more("all other cells", rest),
    )


def _timelines(small: list[Line]) -> str:
    by_policy = {line["key"]["policy"]: line for line in small}
    shown = [name for name in SHOWN_SMALL if name in by_policy] or list(by_policy)[:3]
    if not shown:
        return ""
    key = by_policy[shown[0]]["key"]
    until_s = max(last_s(by_policy[name]) for name in by_policy)

    def figure(name: str) -> str:
        jobs = by_policy[name]["jobs"]
        mean = sum(job["end_s"] - job["arrival_s"] for job in jobs) / len(jobs)
        return _figure(timeline(by_policy[name], until_s), name, f"mean JCT {mean:.1f} s")

    others = [figure(name) for name in ordered(list(by_policy)) if name not in shown]
    words = (
        f"{key['requests']} jobs of the shape {key['shape']} on a batch of {key['batch']} at load {key['load']:g}, a row a job in order of arrival. "
        "Thin: it waits. Thick: it is in the batch. The gap in a bar is its first token."
    )
    return _section(
        "A small run, job by job",
        words,
        _panels(map(figure, shown), "wide"),
        _more("other policies", [_panels(others, "wide")] if others else []),
    )


def _footer(lines: Sequence[Line]) -> str:
    notes = (
        f"{sum(line['kind'] == 'run' for line in lines)} simulations, code {lines[-1]['code']}. "
        f"fcfs is the better of {' and '.join(FCFS)} where both are there. Simulated on a cost model, measured on no device. "
        "skipjoin bench matrix made the numbers, skipjoin bench report this page."
    )
    return tag("footer", escape(notes))
