"""A picture of charts side by side, from matplotlib's figure to SVG text.

Owns the colours, the style, and the words that a browser shows where one points at something. It
knows no chart and no measurement. matplotlib is imported when the first picture is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from io import StringIO
from types import ModuleType
from typing import Any

from ...core.errors import InvalidSettings

COLOURS = {
    "ink": "#16181d",
    "faint": "#8b919b",
    "other": "#b4b8bf",
    "blue": "#2a78d6",
    "orange": "#eb6834",
    "aqua": "#1baf7a",
    "yellow": "#d99a00",
    "magenta": "#d9689a",
    "green": "#008300",
    "violet": "#4a3aa7",
    "red": "#d23a39",
    "brown": "#8a5a2b",
}
"""By name. The report's page has dark ones of the same names."""

PIXELS_AN_INCH = 96.0
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "skipjoin",
    "font.sans-serif": ["DejaVu Sans"],
    "figure.dpi": PIXELS_AN_INCH,
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["faint"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["other"],
    "grid.alpha": 0.35,
    "legend.frameon": False,
}


def matplotlib() -> ModuleType:
    """The library. Raises InvalidSettings naming the extra where it is not installed."""
    try:
        import matplotlib.figure
    except ImportError:
        how = "pip install 'skipjoin[plot]', in a clone '.[plot]'"
        raise InvalidSettings(f"Pictures need matplotlib: {how}.", field="plot") from None
    found: ModuleType = matplotlib
    return found


class Sheet:
    """A figure with `axes[row][column]`; `svg` is there when the block of `sheet` has ended."""

    def __init__(self, figure: Any, rows: int, columns: int) -> None:
        self.figure = figure
        self.axes = figure.subplots(rows, columns, squeeze=False)
        self.svg = ""
        self._said: list[str] = []

    def say(self, artist: Any, words: str) -> None:
        """Have a browser show `words` where one points at what was drawn."""
        artist.set_gid(f"said-{len(self._said)}-")
        self._said.append(words)

    def finish(self, words: str) -> None:
        """Make the text; `words` say what it shows to a reader who cannot see it."""
        out = StringIO()
        self.figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        drawn = out.getvalue()
        drawn = drawn[drawn.index("<svg ") :].replace("<svg ", f'<svg role="img" aria-label="{escape(words)}" ', 1)
        titles = {f"said-{at}-": f"<title>{escape(said)}</title>" for at, said in enumerate(self._said)}
        self.svg = re.sub(r'<g id="(said-\d+-)">', lambda found: f"<g>{titles[found[1]]}", drawn)


@contextmanager
def sheet(words: str, wide: float, high: float, rows: int = 1, columns: int = 1) -> Iterator[Sheet]:
    """An empty picture of `rows` by `columns` charts, each so many pixels large."""
    library = matplotlib()
    with library.rc_context(STYLE):
        size = columns * wide / PIXELS_AN_INCH, rows * high / PIXELS_AN_INCH
        drawn = Sheet(library.figure.Figure(figsize=size, layout="constrained"), rows, columns)
        yield drawn
        drawn.finish(words)
