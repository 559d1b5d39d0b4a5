"""The charts of a matrix: JCT distributions, a measure against load."""

from __future__ import annotations

from ..charts.lines import Axes, Line, line_chart
from ..charts.looks import look, ordered
from ..charts.marks import Scale, fitted, picture
from ..matrix.summary import Cell, Results

WIDE, HIGH = 290.0, 215.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 10.0, 16.0, 34.0


def cdf(results: Results, cell: Cell) -> str:
    """Share of jobs done within a time, a line a policy."""
    quantiles = results.quantiles[cell]
    times = [value for values in quantiles.values() for value in (values[len(values) // 50], values[-1])]
    x = fitted(times, LEFT, WIDE - RIGHT, log=True, room=0.03)
    axes = Axes(x, Scale(0.0, 1.0, HIGH - BOTTOM, TOP), "job completion time (s)", "share of jobs done")
    lines = []
    for policy in reversed(ordered(list(quantiles))):
        values = quantiles[policy]
        steps = [(value, (at + 1) / len(values)) for at, value in enumerate(values) if value >= x.low]
        median, late = values[len(values) // 2], values[int(len(values) * 0.99) - 1]
        lines.append(Line(steps, f"{policy}: median {median:.3g} s, P99 {late:.3g} s", look(policy).stroke()))
    words = f"Distribution of job completion times: {cell.trace}, load {cell.load:g}, batch {cell.batch}"
    return picture(WIDE, HIGH, words, line_chart(axes, lines))


def against_load(results: Results, trace: str, batch: int, measure: str, words: str) -> str:
    """A measure over that of fcfs against load, a line a policy: in seconds the load would hide who
    is better.
    """
    cells = [cell for cell in results.cells if cell.trace == trace and cell.batch == batch]
    loads = [cell.load for cell in cells]
    lines = []
    for policy in reversed(ordered(results.policies)):
        known = [(cell, ratio) for cell in cells if (ratio := results.to_fcfs(cell, policy, measure)) is not None]
        if known:
            said = (f"{results.measures[cell][policy][measure]:.3g} s at {cell.load:g}" for cell, _ in known)
            points = [(cell.load, ratio) for cell, ratio in known]
            mine = look(policy)
            lines.append(Line(points, f"{policy}: {', '.join(said)}", mine.stroke(), points, mine.paint("fill")))
    if not lines:
        return ""
    room = loads if len(loads) > 1 else [loads[0] - 1, loads[0] + 1]
    x = fitted(room, LEFT, WIDE - RIGHT, room=0.05)
    y = fitted([value for one in lines for _, value in one.points], HIGH - BOTTOM, TOP, log=True)
    axes = Axes(x, y, "load", f"{words} / fcfs", x_at=loads)
    alt = f"{words} over that of fcfs against load: {trace}, batch {batch}"
    return picture(WIDE, HIGH, alt, line_chart(axes, lines))
