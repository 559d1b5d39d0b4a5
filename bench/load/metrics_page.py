"""A server's metrics page, read from outside.

Owns the fetch and the few lines of the Prometheus text format that sums need. It passes over what
it cannot read, for the server may be another's. Targets name the metrics they want.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import aiohttp

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? +(\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
TIMEOUT_S = 10.0


def samples(text: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Labels and value of every sample of metric `name` that is a number."""
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found is None or found[1] != name:
            continue
        try:
            value = float(found[3])
        except ValueError:
            continue
        if not math.isfinite(value):
            continue
        yield dict(_LABEL.findall(found[2] or "")), value


class MetricsPage:
    """`GET URL` of a Prometheus page."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def _text(self) -> str | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        try:
            async with self._session.get(self._url) as response:
                return await response.text() if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
            return None

    async def total(self, name: str) -> int | None:
        """The sum over all labels of a counter; None when the page or the counter is not there."""
        text = await self._text()
        values = [] if text is None else [value for _, value in samples(text, name)]
        return round(sum(values)) if values else None

    async def label(self, name: str, label: str) -> str | None:
        """A label's value in the metric's first sample that is not 0; None: there is none."""
        text = await self._text()
        found = [] if text is None else [labels.get(label) for labels, value in samples(text, name) if value]
        return found[0] if found else None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
