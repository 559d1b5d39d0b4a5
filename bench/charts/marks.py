"""Marks on a plane: small pure functions that return SVG text.

Owns escaping, numbers, scales and ticks. It knows no policy and no measure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def tag(name: str, *inside: str, **attributes: object) -> str:
    """An element; `class_` is class, `_` in a name is `-`, a float is a coordinate. `inside` is
    markup already.
    """
    words = [name]
    for key, value in attributes.items():
        text = number(value) if isinstance(value, float) else str(value)
        words.append(f'{key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    body = "".join(inside)
    return f"<{' '.join(words)}>{body}</{name}>" if body else f"<{' '.join(words)}/>"


def text(x: float, y: float, words: str, **attributes: object) -> str:
    """Words at a place."""
    return tag("text", escape(words), x=float(x), y=float(y), **attributes)


def title(words: str) -> str:
    """What a browser shows when one points at the element around it."""
    return tag("title", escape(words))


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    """A straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **attributes)


def polyline(points: Iterable[Point], *inside: str, **attributes: object) -> str:
    """A line through points."""
    return tag("polyline", *inside, points=" ".join(f"{number(x)},{number(y)}" for x, y in points), **attributes)


def picture(width: float, height: float, words: str, *inside: str) -> str:
    """A whole image that scales with the page; `words` say what it shows to a reader who cannot see
    it.
    """
    return tag(
        "svg",
        *inside,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_label=words,
        style=f"max-width:{number(width)}px",
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """Values low..high onto pixels start..stop, evenly or, if `log`, by factor."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where `value` stands; what is outside stands at the edge."""
        value = min(max(value, self.low), self.high)
        measure = math.log if self.log else float
        share = (measure(value) - measure(self.low)) / (measure(self.high) - measure(self.low))
        return self.start + share * (self.stop - self.start)

    def ticks(self, about: int = 4) -> list[float]:
        """Round values inside, about so many: 1, 2 and 5 times a power of ten."""
        return log_ticks(self.low, self.high, about) if self.log else even_ticks(self.low, self.high, about)


def fitted(values: Sequence[float], start: float, stop: float, *, log: bool = False, room: float = 0.06) -> Scale:
    """A scale on which all `values` stand, with some room at both ends."""
    low, high = min(values), max(values)
    if log:
        factor = max(high / low, 1.5) ** room
        return Scale(low / factor, max(high, low * 1.5) * factor, start, stop, log=True)
    pad = max(high - low, abs(high) * 0.02, 1e-9) * room
    return Scale(low - pad, high + pad, start, stop)


def even_ticks(low: float, high: float, about: int) -> list[float]:
    """Multiples of a round step."""
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(at * step, 12) for at in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, about: int) -> list[float]:
    """Powers of ten, with 2 and 5 of them where there is room, or round steps within a decade."""
    decades = math.log10(high / low)
    if decades < 0.7:
        return even_ticks(low, high, about)
    factors: tuple[float, ...] = (1.0,) if decades > about else ((1.0, 3.0) if decades > about / 2 else (1.0, 2.0, 5.0))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]


def short(value: float) -> str:
    """A value for a tick: 0.25, 3, 40, 1.2k."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:.3g}"
