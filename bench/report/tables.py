"""The tables of the report, in HTML: the summary and the heat map of ratios to the oracle."""

from __future__ import annotations

import math
from collections import Counter
from html import escape

from ..charts.looks import ordered
from ..charts.marks import tag
from ..matrix.summary import FIGURES, ORACLE, Results, Row, knows_lengths
from ..table import DASH

SHADES = 7
DARKEST = 4.0
"""A ratio of this and more has the darkest shade, 1 the lightest, by equal factors."""


def shade(ratio: float) -> int:
    """0..6."""
    return min(max(int(SHADES * math.log(max(ratio, 1.0)) / math.log(DARKEST)), 0), SHADES - 1)


def summary_table(rows: list[Row]) -> str:
    """A row a policy; average over cells, and the worst one small."""
    order = ordered([row.policy for row in rows])
    rows = sorted(rows, key=lambda row: order.index(row.policy))
    spans = Counter(one.group for one in FIGURES)
    groups = (tag("th", escape(group), colspan=span, class_="group") for group, span in spans.items())
    head = tag("tr", "<th></th>", *groups, class_="wide-head")
    starts = [at == 0 or one.group != FIGURES[at - 1].group for at, one in enumerate(FIGURES)]
    names = zip(FIGURES, starts, strict=True)
    titles = tag("tr", "<th>policy</th>", *(_cell("th", one.title, start) for one, start in names))
    texts = [[one.text(row) for one in FIGURES] for row in rows]
    body = []
    for row, mine in zip(rows, texts, strict=True):
        cells = []
        for at, shown in enumerate(mine):
            average, _, worst = shown.partition(" / ")
            best = not knows_lengths(row.policy) and average == _best(rows, texts, at)
            cells.append(_cell("td", average + (f" <small>{worst}</small>" if worst else ""), starts[at], best))
        body.append(tag("tr", tag("td", escape(row.policy)), *cells))
    return tag("div", tag("table", head, titles, *body), class_="scroll")


def _best(rows: list[Row], texts: list[list[str]], column: int) -> str | None:
    """The best average of a ratio, those that know lengths apart; counts have no best."""
    name = FIGURES[column].title
    if not name.endswith(("/oracle", "/fcfs")):
        return None
    averages = [
        mine[column].partition(" / ")[0] for row, mine in zip(rows, texts, strict=True) if not knows_lengths(row.policy)
    ]
    known = [average for average in averages if average != DASH]
    choose = max if "throughput" in name else min
    return choose(known, key=float) if len(known) > 1 else None


def _cell(name: str, inside: str, starts: bool, best: bool = False) -> str:
    words = " ".join(word for word, said in (("group", starts), ("best", best)) if said)
    return tag(name, inside, **({"class_": words} if words else {}))


def heat_map(results: Results, batch: int, traces: dict[str, str]) -> str:
    """Mean JCT over the oracle's: a row a trace and load, a column a policy."""
    policies = [name for name in ordered(results.policies) if name != ORACLE]
    head = tag("tr", "<th>trace</th><th>load</th>", *(tag("th", escape(name)) for name in policies))
    rows = []
    last = ""
    for cell in results.cells:
        if cell.batch != batch or results.oracle(cell, "mean") is None:
            continue
        name = "" if cell.trace == last else escape(traces.get(cell.trace, cell.trace))
        last = cell.trace
        squares = []
        for policy in policies:
            ratio = results.to_oracle(cell, policy)
            squares.append(tag("td", DASH) if ratio is None else tag("td", f"{ratio:.2f}", class_=f"q{shade(ratio)}"))
        rows.append(tag("tr", tag("td", name or "&nbsp;"), tag("td", f"{cell.load:g}", class_="plain"), *squares))
    return tag("div", tag("table", head, *rows, class_="heat"), class_="scroll") if rows else ""
