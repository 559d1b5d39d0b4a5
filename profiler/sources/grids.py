"""From measured points to complete tables: gaps filled, noise taken out, iterations put together.

Owns `curve_of`, `grid_of`, `designed_rows`, `profile_of_rows`, the fit that all table formats
share, and `profile_of_halves` for those without mixed batches. It reads no file; the formats bring
points in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...core.errors import InvalidProfile
from ...cost.schema import Profile, Tables, move_token_ns
from ...cost.sweep_row import SweepRow
from ...cost.table import Curve, Grid, TableCostModel
from ..fit import fit_error, fitted_profile
from .known import Shape, device_of, kv_room
from .reading import Wish

MOST_PLACES = 12
THIN = 1.04
"""Places of an axis are at least this factor apart: a sweep in equal steps says no more than that
at its far end.
"""
Points = Mapping[tuple[int, int], float]


def curve_of(points: Mapping[int, float], field: str) -> Curve:
    """A curve that never falls: more work is not quicker, so a dip is noise. Raises InvalidProfile
    without points.
    """
    if not points:
        raise InvalidProfile(f"The source has no measurement for {field}.", field=field, limit="1 or more")
    at = sorted(points)
    values = dict(zip(at, _rising([points[x] for x in at]), strict=True))
    kept = _thinned(at)
    return Curve(tuple(float(x) for x in kept), tuple(values[x] for x in kept))


def grid_of(points: Points, field: str) -> Grid:
    """A grid that falls along neither axis. A place nobody measured lies on the line between its
    row's neighbours, or on the row's last slope.

    Raises InvalidProfile without points.
    """
    if not points:
        raise InvalidProfile(f"The source has no measurement for {field}.", field=field, limit="1 or more")
    columns = _thinned(sorted({column for _, column in points}))
    by_row: dict[int, dict[int, float]] = {}
    for (row, column), ns in points.items():
        by_row.setdefault(row, {})[column] = ns
    lines: dict[int, tuple[float, ...]] = {}
    above = (0.0,) * len(columns)
    for row, known in sorted(by_row.items()):
        curve = curve_of(known, field)
        above = _rising([max(curve(column), least) for column, least in zip(columns, above, strict=True)])
        lines[row] = above
    rows = _thinned(list(lines))
    return Grid(
        tuple(float(row) for row in rows), tuple(float(column) for column in columns), tuple(lines[row] for row in rows)
    )


def _thinned(axis: Sequence[int]) -> list[int]:
    """Without the places that are nearly the one before; the ends stay."""
    kept: list[int] = []
    for x in axis:
        if not kept or x >= kept[-1] * THIN or x == axis[-1]:
            kept.append(x)
    return kept


def _rising(values: Sequence[float]) -> tuple[float, ...]:
    highest, rising = 0.0, []
    for value in values:
        highest = max(highest, value)
        rising.append(highest)
    return tuple(rising)


def designed_rows(tables: TableCostModel, kv_tokens: int) -> list[SweepRow]:
    """Iterations of every region at the tables' own places, as the tables say they take: for the
    fit where no whole iteration was measured.

    At most `MOST_PLACES` of each axis; none needs more than `kv_tokens`.
    """
    lengths, befores = _some(tables.prefill.rows), _some(tables.prefill.columns)
    members, contexts = _some(tables.decode.rows), _some(tables.decode.columns)
    chunks = [((length, before),) for length in lengths for before in befores]
    batches = [(jobs, jobs * context) for jobs in members for context in contexts if context]
    shapes: list[tuple[tuple[tuple[int, int], ...], int, int]] = [(chunk, 0, 0) for chunk in chunks]
    shapes += [((), jobs, held) for jobs, held in batches]
    shapes += [(chunk, jobs, held) for chunk in chunks[::3] for jobs, held in batches[::3]]
    return [
        SweepRow(chunk, jobs, held, tables.iteration_ns(chunk, jobs, held))
        for chunk, jobs, held in shapes
        if held + sum(sum(one) for one in chunk) <= kv_tokens
    ]


def _some(axis: Sequence[float]) -> list[int]:
    step = -(-len(axis) // MOST_PLACES)
    return sorted({int(x) for x in (*axis[::step], axis[-1])})


def profile_of_rows(
    tables: TableCostModel,
    rows: Sequence[SweepRow] | None,
    wish: Wish,
    *,
    model_name: str,
    device: str,
    tensor_parallel: int,
    kv_tokens: int,
    token_bytes: int,
    source: str,
) -> Profile:
    """Coefficients fitted to `rows` beside `tables`, both with their errors on those rows that fit
    the device.

    `rows` None: the tables are all that was measured. Coefficients are fitted to them, and of the
    tables no error is known. Raises InvalidProfile when the rows cannot tell the coefficients
    apart.
    """
    measured = designed_rows(tables, kv_tokens) if rows is None else rows
    room = [row for row in measured if row.decode_contexts + sum(sum(chunk) for chunk in row.chunks) <= kv_tokens]
    profile = fitted_profile(
        room,
        model_name=model_name,
        device=device,
        dtype="float16",
        tensor_parallel=tensor_parallel,
        kv_tokens=kv_tokens,
        token_bytes=token_bytes,
        links_gbps=(wish.link_gbps, wish.link_gbps),
        source=source,
    )
    return replace(profile, tables=Tables(tables, None if rows is None else fit_error(tables, room)))


def profile_of_halves(
    tokens: Curve,
    sequences: Curve,
    attention: tuple[Points, Points],
    shape: Shape,
    wish: Wish,
    *,
    model_name: str,
    file: str,
    tensor_parallel: int,
    source: str,
) -> Profile:
    """The profile of a source that measured chunks and decodes apart: `attention` of both, beside
    each other what they take alone.

    `file` is named for the device where the flags do not say it. Raises InvalidProfile.
    """
    prefill, decode = attention
    beside = grid_of(decode, "attention of decodes")
    tables = TableCostModel(
        tokens=tokens,
        sequences=sequences,
        prefill=grid_of(prefill, "attention of chunks"),
        decode=beside,
        beside=beside,
        move_token_ns=move_token_ns(shape.token_bytes, wish.link_gbps, wish.link_gbps),
    )
    return profile_of_rows(
        tables,
        None,
        wish,
        model_name=model_name,
        device=device_of(wish, [file]),
        tensor_parallel=tensor_parallel,
        kv_tokens=kv_room(wish),
        token_bytes=shape.token_bytes,
        source=source,
    )
