"""Figures and redrawn panels as tables and as JSON.

Owns columns, rounding and words. The commands print what it gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from ..table import DASH, grid, known
from .curves import Crossing
from .fidelity import Figure
from .redraw import Redrawn, over, rate_of


def figures_table(found: Sequence[Figure]) -> str:
    """A line for each figure of `bench fidelity`."""
    lines = [("run", "costs", "", "measured", "simulated", "ratio", "bar")]
    for one in found:
        times = (f"{one.measured_s:.2f} s", f"{one.simulated_s:.2f} s", f"{one.ratio:.3f}")
        bar = f"{1 - one.within:.2f}-{1 + one.within:.2f}{'' if one.holds else ' missed'}"
        lines.append((one.run, one.costs, one.measure, *times, bar))
    return grid(lines, left=3)


def panel_tables(drawn: Redrawn) -> str:
    """The rates, the limit, the verdict."""
    panel, setting, lengths = drawn.panel, drawn.setting, drawn.lengths
    jobs = f"{setting.jobs} jobs" if setting.jobs else f"{panel.span.least} to {panel.span.most} jobs"
    lines = [
        f"{panel.title}: mean latency per output token (s) by jobs a second",
        f"Ours: lengths of {lengths.name} ({len(lengths.prompt_tokens):,} rows, beside {lengths.left_out:,} left out"
        f" as too long; means {lengths.prompt_tokens.mean():.0f} in, {lengths.output_tokens.mean():.0f} out), {jobs},"
        f" {setting.seeds} seeds, batch {setting.batch}, KV of {setting.kv_tokens:,} tokens, starvation"
        f" {setting.starvation}; all waiting, fcfs finishes {drawn.drain_per_s:.2f} a second",
        "",
        grid(_rows(drawn)),
        f"Jobs a second at {setting.limit_s:g} s per token",
        "",
        grid(_crossings(drawn)),
    ]
    if panel.target is not None:
        base, times = panel.target
        word = f"unknown, {drawn.unknown}" if drawn.unknown else "reached" if drawn.holds else "MISSED"
        lines.append(f"Target: {panel.best} bears {times:g} times the rate of {base}: {word}\n")
    return "\n".join(lines)


def _rows(drawn: Redrawn) -> list[list[str]]:
    curves = {
        key: {rate_of(point): point.latency_s for point in curve.points if point.measured}
        for key, curve in drawn.published.items()
    }
    words = [word for word, _, _ in drawn.panel.sources]
    keys = [(word, system) for system in drawn.panel.stood_for for word in words if (word, system) in curves]
    ours = {name: {one.rate: one.latency_s for one in points} for name, points in drawn.ours.items()}
    columns = [*(curves[key] for key in keys), *ours.values()]
    rows = [["", *(f"{system}, {word}" for word, system in keys), *ours]]
    for rate in drawn.rates():
        cells = (column.get(rate) for column in columns)
        rows.append([f"{rate:g}", *(known(cell, ".3f") for cell in cells)])
    return rows


def _crossings(drawn: Redrawn) -> list[list[str]]:
    words = [word for word, _, _ in drawn.panel.sources]
    theirs, ours = drawn.published_crossings(), drawn.crossings()
    stands_for = {system.name: system.published for system in drawn.panel.systems}
    rows = [["", *words, "ours"]]

    def published(word: str, name: str) -> Crossing | None:
        return theirs.get((word, stands_for[name] or ""))

    for name in ours:
        cells = [_rate(published(word, name)) for word in words]
        rows.append(
            [name if stands_for[name] in (None, name) else f"{name} ({stands_for[name]})", *cells, _rate(ours[name])]
        )
    best = drawn.panel.best
    for base in drawn.panel.bases:
        ratios = [over(published(word, best), published(word, base)) for word in words]
        rows.append([f"{best} / {base}", *(_rate(ratio) for ratio in ratios), _rate(drawn.ratio(base))])
    return rows


def _rate(found: Crossing | None) -> str:
    if found is None:
        return DASH
    return f"{'> ' if found.beyond else ''}{found.rate:.2f}"


def as_json(drawn: Redrawn) -> dict[str, object]:
    """Plain values; the same question gives the same bytes, whatever folder the data lie in."""
    setting, lengths = drawn.setting, drawn.lengths
    theirs, ours = drawn.published_crossings(), drawn.crossings()
    return {
        "panel": drawn.panel.name,
        "lengths": lengths.name,
        "rows": len(lengths.prompt_tokens),
        "left_out": lengths.left_out,
        "mean_prompt_tokens": float(lengths.prompt_tokens.mean()),
        "mean_output_tokens": float(lengths.output_tokens.mean()),
        "jobs": setting.jobs,
        "seeds": setting.seeds,
        "batch": setting.batch,
        "kv_tokens": setting.kv_tokens,
        "host_kv_tokens": drawn.panel.host_tokens,
        "starvation": setting.starvation,
        "level_s": setting.limit_s,
        "drain_rate_per_s": drawn.drain_per_s,
        "published": [
            {
                "source": word,
                "system": system,
                "points": [asdict(point) for point in curve.points],
                "crossing": _plain(theirs[word, system]),
            }
            for (word, system), curve in drawn.published.items()
        ],
        "ours": [
            {"name": name, "points": [asdict(one) for one in points], "crossing": _plain(ours[name])}
            for name, points in drawn.ours.items()
        ],
        "ratios": {base: _plain(drawn.ratio(base)) for base in drawn.panel.bases},
        "holds": drawn.holds,
        "unknown": drawn.unknown,
    }


def _plain(found: Crossing | None) -> dict[str, object] | None:
    return None if found is None else asdict(found)
