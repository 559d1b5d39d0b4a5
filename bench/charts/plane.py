"""The plane of mean and P99: who gives what on average, and what it takes from the last percent.

Owns spots, fronts, the points of one policy's dial and where their labels stand. Ratios come from
the report's page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ...scheduler.series import parse
from ..matrix.summary import knows_lengths
from .lines import Axes
from .looks import look
from .marks import Point, Scale, fitted, line, picture, polyline, tag, text, title

WIDE, HIGH, LEFT, TOP, BOTTOM = 520.0, 380.0, 40.0, 2.0, 34.0


@dataclass(frozen=True, slots=True)
class Spot:
    """A policy on the plane, perhaps at one setting of its dial."""

    policy: str
    mean: float
    late: float


@dataclass(frozen=True, slots=True)
class Others:
    """A front that others reached: (mean, P99) over fcfs, and whose it is."""

    name: str
    source: str
    points: tuple[Point, ...]


def front(spots: Sequence[Spot]) -> list[Spot]:
    """Those that no other beats in both, by rising P99, but for those that know lengths."""
    best: list[Spot] = []
    for spot in sorted((one for one in spots if not knows_lengths(one.policy)), key=lambda one: (one.late, one.mean)):
        if not best or spot.mean < best[-1].mean:
            best.append(spot)
    return best


def dialled(spots: Sequence[Spot]) -> dict[str, list[tuple[float, Spot]]]:
    """The settings of each dial that stands on the plane more than once, by rising setting."""
    found: dict[str, list[tuple[float, Spot]]] = defaultdict(list)
    for spot in spots:
        series = parse(spot.policy)
        if series.tail is not None:
            found[series.policy].append((series.tail, spot))
    return {policy: sorted(mine, key=lambda one: one[0]) for policy, mine in found.items() if len(mine) > 1}


Box = tuple[float, float, float, float]
LETTER, LABEL_HIGH = 6.4, 12.0


def label_box(x: float, y: float, wide: float, taken: Sequence[Box]) -> Box:
    """Left, top, right, bottom of a label near (x, y) that covers nothing of `taken` and begins on
    the picture.

    To the right of its place if it can be, else ever further off.
    """
    shifts = (-13.0 + way * away for away in range(0, 120, 5) for way in (-1, 1))
    places = [(left, y + shift) for shift in shifts for left in (x + 7, x - 7 - wide) if left >= 0]
    boxes = [(left, top, left + wide, top + LABEL_HIGH) for left, top in places]
    return next((box for box in boxes if not any(_meet(box, other) for other in taken)), boxes[0])


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


class _Labels:
    """Words on the plane, none upon another or upon a spot."""

    def __init__(self, taken: list[Box]) -> None:
        self._taken = taken

    def put(self, x: float, y: float, words: str, *, strong: bool = False) -> str:
        box = label_box(x, y, LETTER * len(words), self._taken)
        self._taken.append(box)
        return text(box[0], box[3] - 3, words, **({"class_": "name"} if strong else {}))


def plane(spots: Sequence[Spot], words: str, others: Sequence[Others] = ()) -> str:
    """Mean over P99, both as ratios to fcfs.

    Drawn are the front of those that no other beats in both, a line through the points of one dial,
    and the fronts of others.
    """
    foreign = [point for one in others for point in one.points]
    late = [*(spot.late for spot in spots), *(at for _, at in foreign), 1.0]
    mean = [*(spot.mean for spot in spots), *(at for at, _ in foreign), 1.0]
    x = fitted(late, LEFT, WIDE - 74, log=True)
    y = fitted(mean, HIGH - BOTTOM, TOP + 14, log=True)
    best = front(spots)
    dials = dialled(spots)
    labels = _Labels([(x(at) - 5, y(of) - 5, x(at) + 5, y(of) + 5) for of, at in _places(spots, foreign)])
    parts = [
        Axes(x, y, "P99 / fcfs", "mean / fcfs").drawn(),
        line(x(1.0), y.start, x(1.0), y.stop, class_="one"),
        line(x.start, y(1.0), x.stop, y(1.0), class_="one"),
        _corners(best, x, y),
        *(_others(one, x, y, labels) for one in others),
        *(_dial(policy, [spot for _, spot in mine], x, y) for policy, mine in dials.items()),
    ]
    short_names = {
        spot.policy: f"{policy} {tail:g}" if place == 0 else f"{tail:g}"
        for policy, mine in dials.items()
        for place, (tail, spot) in enumerate(mine)
    }
    for spot in sorted(spots, key=lambda one: (y(one.mean), x(one.late))):
        parts.append(_dot(spot, x(spot.late), y(spot.mean), strong=spot in best))
        shown = short_names.get(spot.policy, spot.policy)
        parts.append(labels.put(x(spot.late), y(spot.mean), shown, strong=spot in best))
    return picture(WIDE, HIGH, words, *parts)


def _places(spots: Sequence[Spot], foreign: Sequence[Point]) -> list[Point]:
    return [*((spot.mean, spot.late) for spot in spots), *foreign]


def _corners(best: Sequence[Spot], x: Scale, y: Scale) -> str:
    """The front as stairs: between two of its spots nothing is offered but the better tail."""
    corners: list[Point] = []
    for spot in best:
        if corners:
            corners.append((x(spot.late), corners[-1][1]))
        corners.append((x(spot.late), y(spot.mean)))
    return polyline(corners, class_="front") if len(corners) > 1 else ""


def _dial(policy: str, mine: Sequence[Spot], x: Scale, y: Scale) -> str:
    points = [(x(spot.late), y(spot.mean)) for spot in mine]
    return polyline(points, title(f"{policy}: its dial from end to end"), **look(policy).stroke())


def _dot(spot: Spot, x: float, y: float, *, strong: bool) -> str:
    said = title(f"{spot.policy}: mean {spot.mean:.2f}, P99 {spot.late:.2f} of fcfs")
    mine = look(spot.policy)
    ring = knows_lengths(spot.policy)
    style = f"fill:none;{mine.paint()};stroke-width:2" if ring else f"fill:var(--{mine.colour})"
    return tag("circle", said, cx=x, cy=y, r=5.5 if strong else 4.0, style=style)


def _others(one: Others, x: Scale, y: Scale, labels: _Labels) -> str:
    points = [(x(late), y(mean)) for mean, late in one.points]
    said = title(f"{one.name}, by {one.source}: {', '.join(f'mean {m:g} P99 {p:g}' for m, p in one.points)}")
    squares = (
        tag("rect", said, x=at_x - 3, y=at_y - 3, width=6, height=6, style="fill:var(--faint)") for at_x, at_y in points
    )
    name = labels.put(*points[-1], one.name)
    return polyline(points, said, class_="others") + "".join(squares) + name
