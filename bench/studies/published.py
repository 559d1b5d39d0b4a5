"""`skipjoin bench published`: panels drawn again, as tables, as JSON and as a picture.

Owns the flags, columns, rounding and words; `redraw` simulates.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from ...console.json_flag import add_json_flag
from ...console.output_file import write
from ...core.errors import InvalidSettings
from ...scheduler.params import check_starvation
from ..charts.lines import Line, LineChart, line_sheet
from ..charts.looks import DASHED, Look
from ..flags import Flags, check_bounds
from ..json_file import write_json
from ..progress import Bar
from ..table import DASH, grid, known
from .reading import Crossing, Point, crossing, data_folder, find_file, read_curves
from .redraw import BATCH, KV_TOKENS, LIMIT_S, PANELS, TOP_LIMITS, Redrawn, Setting, named, over, rate_of, redraw

COLOURS = ("ink", "red", "orange", "blue", "aqua")


def picture_of(panels: Sequence[Redrawn]) -> str:
    """An SVG file with a chart a panel, one beside the other."""
    charts = [_chart(drawn) for drawn in panels]
    return line_sheet("Latency against arrival rate, published and simulated", [charts], 440.0, 340.0)


def _chart(drawn: Redrawn) -> LineChart:
    limit_s, top = drawn.setting.limit_s, TOP_LIMITS * drawn.setting.limit_s
    lines = [
        Line(name, [(one.rate, one.latency_s) for one in cut(points, top)], look)
        for name, look, points in _curves(drawn)
    ]
    words = "jobs a second", "mean latency per output token (s)"
    return LineChart(lines, *words, drawn.panel.title, y_span=(0.0, top), level=limit_s, legend=True)


def _curves(drawn: Redrawn) -> Iterator[tuple[str, Look, Sequence[Point]]]:
    colours = {system.name: COLOURS[at % len(COLOURS)] for at, system in enumerate(drawn.panel.systems)}
    word = drawn.panel.sources[0][0]
    for published in drawn.panel.stood_for:
        first = next(system.name for system in drawn.panel.systems if system.published == published)
        if (curve := drawn.published.get((word, published))) is not None:
            yield f"{published}, {word}", Look(colours[first], DASHED), curve.points
    for name in drawn.ours:
        yield f"{name}, simulated", Look(colours[name]), drawn.points(name)


def cut(points: Sequence[Point], top: float) -> list[Point]:
    """The points up to where the line leaves the picture."""
    leaves = crossing(points, top)
    if leaves is None:
        return list(points[:1])
    kept = [point for point in points if point.rate < leaves.rate or (leaves.beyond and point.rate == leaves.rate)]
    return kept if leaves.beyond else [*kept, Point(leaves.rate, top)]


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


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench published`."""
    flags = Flags(parser)
    flags.value("data", "DIR", "folder with published curves and traces (default: SKIPJOIN_BENCH_DATA)")
    flags.value("panel", "A,B", "", ",".join(panel.name for panel in PANELS))
    flags.value("lengths", "CSV|shape:NAME", "other lengths, as in simulate --trace (default: the panel's)")
    flags.value("jobs", "N", "jobs a point (default: as many as the artifact, by the rate)", kind=int)
    flags.value("seeds", "N", "runs a point", 3)
    flags.value("batch", "B", "", BATCH)
    flags.value("kv-tokens", "K", "device room for KV", KV_TOKENS)
    flags.value("starvation", "off|granted|paper", "of skipjoin", "granted")
    flags.value("level", "S", "limit in s per token", LIMIT_S)
    add_json_flag(parser, "the figures")
    flags.value("plot", "FILE", "write a picture there (SVG)")


def run(args: argparse.Namespace) -> int:
    """0 drawn, 1 a target missed. One that the curves do not decide is no miss.

    Raises InvalidSettings, InvalidTrace.
    """
    folder = data_folder(args.data, "published curves and traces")
    limits = (args.batch, args.kv_tokens, args.starvation, args.level)
    setting = Setting(str(folder), args.lengths, args.jobs, args.seeds, *limits)
    check_bounds(args, jobs=(2, 100_000), seeds=(1, 100), batch=(1, 4096), kv_tokens=(256, 1 << 24))
    if not 0 < args.level <= 1000:
        raise InvalidSettings(f"--level is {args.level:g}.", field="level", limit="above 0, at most 1000")
    check_starvation(args.starvation)
    panels = named(args.panel)
    curves = read_curves(find_file(folder))
    drawn: list[Redrawn] = []
    with Bar() as bar:
        for panel in panels:
            drawn.append(redraw(panel, curves, setting, bar))
            print(panel_tables(drawn[-1]), flush=True)
    write_json(args.json, {"panels": [as_json(one) for one in drawn]})
    if args.plot is not None:
        write(args.plot, picture_of(drawn) + "\n", "plot")
    return 1 if any(one.holds is False for one in drawn) else 0
