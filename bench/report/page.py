"""The report: one HTML page that needs nothing else, and its tables in Markdown.

Owns what stands where; the words and the looks are in `page.html.jinja`, the pictures in `charts`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..charts.looks import look, ordered
from ..charts.sheet import COLOURS
from ..matrix.summary import (
    FCFS,
    FIGURES,
    HIGHEST_EDGE,
    LEGEND,
    ORACLE,
    Cell,
    Results,
    average_of,
    collect,
    knows_lengths,
    summary,
)
from ..matrix.summary import Row as SummaryRow
from ..table import DASH, known, markdown
from .charts import Others, Spot, against_load, cdf, last_s, plane, timeline

USUAL_BATCH = 64
SHOWN_SMALL = ("fcfs", "skipjoin", "adaptive", ORACLE)
SHADES = 7
DARKEST = 4.0
"""A ratio of this and more has the darkest shade, 1 the lightest, by equal factors."""
WORDS = f"{LEGEND[0].upper()}{LEGEND[1:]}"
Line = dict[str, Any]


def page(lines: Sequence[Line]) -> str:
    """The whole document."""
    results = collect(lines)
    others = _others(lines)
    chosen, rest = _distributions(results)
    rows = _ordered(results)
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    ).get_template("page.html.jinja")
    text = template.render(
        colours=COLOURS,
        looks=[(name, look(name)) for name in ordered(results.policies)],
        facts=_facts(lines, results),
        words=WORDS,
        groups=Counter(one.group for one in FIGURES).items(),
        columns=[{"title": one.title, "starts": _starts(at)} for at, one in enumerate(FIGURES)],
        rows=_summary_rows(rows),
        planes=_planes(results, others),
        others="; ".join(f"{one.name} ({one.source})" for one in others),
        heats=[heat for batch in _batches(results) if (heat := _heat(results, batch))["rows"]],
        loads=_loads(results),
        waits=chosen,
        more_waits=rest,
        small=_timelines([line for line in lines if line["kind"] == "timeline"]),
        simulations=sum(line["kind"] == "run" for line in lines),
        code=lines[-1]["code"],
        fcfs=" and ".join(FCFS),
    )
    return f"{text}\n"


def tables(lines: Sequence[Line]) -> str:
    """The summary, and mean and P99 of every cell, in Markdown."""
    results = collect(lines)
    head = ["policy", *(f"{one.group}: {one.title}" for one in FIGURES)]
    body = [[f"`{row.policy}`", *(one.text(row) for one in FIGURES)] for row in _ordered(results)]
    policies = [name for name in ordered(results.policies) if name != ORACLE]
    cells = ["trace", "batch", "load", "alone (s)", "work (s)", f"`{ORACLE}` (s)", *(f"`{name}`" for name in policies)]
    told = (
        "Mean JCT in seconds of the two bounds and the oracle; of a policy its mean over the oracle's "
        "and its P99 over that of `fcfs`."
    )
    code = f"{WORDS}. Code {lines[-1]['code']}."
    return "\n".join([markdown([head, *body]), code, "", markdown([cells, *_cells(results, policies)]), told, ""])


def _cells(results: Results, policies: list[str]) -> Iterable[list[str]]:
    for cell in results.cells:
        any_of = next(iter(results.measures[cell].values()))
        limits = [any_of.get("alone"), any_of.get("work"), results.oracle(cell, "mean")]
        ratios = (
            f"{known(results.to_oracle(cell, name), '.2f')}, {known(results.to_fcfs(cell, name, 'p99'), '.2f')}"
            for name in policies
        )
        yield [cell.trace, str(cell.batch), f"{cell.load:g}", *(known(value, ".3g") for value in limits), *ratios]


def _ordered(results: Results) -> list[SummaryRow]:
    order = ordered(results.policies)
    return sorted(summary(results), key=lambda row: order.index(row.policy))


def _figure(svg: str, caption: str, more: str = "") -> Line:
    """In the page's colours, which are others in the dark."""
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return {"svg": svg, "caption": caption, "more": more}


def _traces(results: Results) -> dict[str, str]:
    """Traces in order of appearance, with the names a person reads."""
    names = dict.fromkeys(cell.trace for cell in results.cells)
    return {name: name.removeprefix("shape:") + (" (shape)" if name.startswith("shape:") else "") for name in names}


def _batches(results: Results) -> list[int]:
    """First the one that is drawn first: 64 where it is there, else the middle one."""
    batches = sorted({cell.batch for cell in results.cells})
    main = USUAL_BATCH if USUAL_BATCH in batches else batches[len(batches) // 2]
    return sorted(batches, key=lambda batch: (batch != main, batch))


def _facts(lines: Sequence[Line], results: Results) -> list[tuple[str, object]]:
    last: Line = next((line["key"] for line in reversed(lines) if line["kind"] == "run"), {})
    return [
        ("traces", len({cell.trace for cell in results.cells})),
        ("loads", ", ".join(f"{load:g}" for load in sorted({cell.load for cell in results.cells}))),
        ("batches", ", ".join(str(batch) for batch in sorted(_batches(results)))),
        ("runs of a cell", max(results.seeds.values(), default=0)),
        ("counted requests", f"{last.get('requests', 0):,} after {last.get('warmup', 0):,}"),
        ("profile", last.get("profile", "")),
    ]


def _starts(at: int) -> str:
    return "group" if at == 0 or FIGURES[at].group != FIGURES[at - 1].group else ""


def _summary_rows(rows: list[SummaryRow]) -> list[Line]:
    """A row a policy; average over cells and the worst one; the best average is marked."""
    texts = [[one.text(row).partition(" / ") for one in FIGURES] for row in rows]
    best = [_best(rows, [row[at][0] for row in texts], at) for at in range(len(FIGURES))]
    told = []
    for row, mine in zip(rows, texts, strict=True):
        cells = []
        for at, (average, _, worst) in enumerate(mine):
            marked = not knows_lengths(row.policy) and average == best[at]
            words = f"{_starts(at)} {'best' if marked else ''}".strip()
            cells.append({"average": average, "worst": worst, "look": words})
        told.append({"policy": row.policy, "cells": cells})
    return told


def _best(rows: list[SummaryRow], averages: list[str], column: int) -> str | None:
    """The best average of a ratio, those that know lengths apart; counts have no best."""
    name = FIGURES[column].title
    known_ones = [
        average
        for row, average in zip(rows, averages, strict=True)
        if average != DASH and not knows_lengths(row.policy)
    ]
    if not name.endswith(("/oracle", "/fcfs")) or len(known_ones) < 2:
        return None
    return (max if "throughput" in name else min)(known_ones, key=float)


def _others(lines: Sequence[Line]) -> list[Others]:
    """Fronts that the matrix file gave; of two under one name the later."""
    keys = {line["key"]["name"]: line["key"] for line in lines if line["kind"] == "reference"}
    return [
        Others(key["name"], key["source"], tuple((mean, late) for mean, late in key["points"])) for key in keys.values()
    ]


def _planes(results: Results, others: list[Others]) -> list[Line]:
    edge = [cell for cell in results.cells if cell.load <= HIGHEST_EDGE]
    over = [cell for cell in results.cells if cell.load > HIGHEST_EDGE]
    wanted: list[tuple[list[Cell], str, list[Others]]] = [(edge, "Loads up to 0.95", []), (over, "Overload", [])]
    if others:
        wanted.append((results.cells, "All loads", others))
    figures = []
    for cells, caption, theirs in wanted:
        if spots := _spots(results, cells):
            drawn = plane(spots, f"Mean against P99, {caption.lower()}", theirs)
            figures.append(_figure(drawn, caption, f"{len(cells)} cells"))
    return figures


def _spots(results: Results, cells: list[Cell]) -> list[Spot]:
    spots = []
    for policy in results.policies:
        mean = average_of(results.to_fcfs(cell, policy, "mean") for cell in cells)
        late = average_of(results.to_fcfs(cell, policy, "p99") for cell in cells)
        if mean is not None and late is not None:
            spots.append(Spot(policy, mean.mean, late.mean))
    return spots


def shade(ratio: float) -> int:
    """0..6."""
    return min(max(int(SHADES * math.log(max(ratio, 1.0)) / math.log(DARKEST)), 0), SHADES - 1)


def _heat(results: Results, batch: int) -> Line:
    """Mean JCT over the oracle's: a row a trace and load, a column a policy."""
    policies = [name for name in ordered(results.policies) if name != ORACLE]
    names, rows, last = _traces(results), [], ""
    for cell in results.cells:
        if cell.batch != batch or results.oracle(cell, "mean") is None:
            continue
        ratios = [results.to_oracle(cell, policy) for policy in policies]
        squares = [(known(ratio, ".2f"), "" if ratio is None else f"q{shade(ratio)}") for ratio in ratios]
        trace = "\N{NO-BREAK SPACE}" if cell.trace == last else names[cell.trace]
        rows.append({"trace": trace, "load": f"{cell.load:g}", "squares": squares})
        last = cell.trace
    return {"batch": batch, "policies": policies, "rows": rows}


def _loads(results: Results) -> list[Line]:
    blocks = []
    for batch in _batches(results):
        for measure, words in (("mean", "mean JCT"), ("p99", "P99 JCT")):
            charts = [
                (name, against_load(results, trace, batch, measure, words)) for trace, name in _traces(results).items()
            ]
            shown = [_figure(chart, name) for name, chart in charts if chart]
            blocks.append({"title": f"{words} over that of fcfs, batch {batch}", "figures": shown})
    return blocks


def _distributions(results: Results) -> tuple[list[Line], list[Line]]:
    """At the main batch those of the highest steady and the highest load; then the others."""
    traces, batches = _traces(results), _batches(results)
    loads = sorted({cell.load for cell in results.cells})
    steady = [load for load in loads if load <= HIGHEST_EDGE]
    first = list(dict.fromkeys((batches[0], load) for load in (*steady[-1:], loads[-1])))
    others = [(batch, load) for batch in batches for load in loads if (batch, load) not in first]

    def blocks(places: list[tuple[int, float]]) -> list[Line]:
        told = []
        for batch, load in places:
            cells = [cell for cell in results.cells if cell.batch == batch and cell.load == load]
            figures = [_figure(cdf(results, cell), traces[cell.trace]) for cell in cells]
            told += [{"title": f"load {load:g}, batch {batch}", "figures": figures}] if figures else []
        return told

    return blocks(first), blocks(others)


def _timelines(small: list[Line]) -> Line | None:
    by_policy = {line["key"]["policy"]: line for line in small}
    shown = [name for name in SHOWN_SMALL if name in by_policy] or list(by_policy)[:3]
    if not shown:
        return None
    key = by_policy[shown[0]]["key"]
    until_s = max(last_s(line) for line in small)

    def figure(name: str) -> Line:
        jobs = by_policy[name]["jobs"]
        mean = sum(job["end_s"] - job["arrival_s"] for job in jobs) / len(jobs)
        return _figure(timeline(by_policy[name], until_s), name, f"mean JCT {mean:.1f} s")

    where = f"on a batch of {key['batch']} at load {key['load']:g}"
    more = [name for name in ordered(list(by_policy)) if name not in shown]
    return {
        "words": f"{key['requests']} jobs of the shape {key['shape']} {where}",
        "shown": [figure(name) for name in shown],
        "more": [figure(name) for name in more],
    }
