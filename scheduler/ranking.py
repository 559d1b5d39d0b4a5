"""A sorted set of keys that stays fast with a hundred thousand of them.

Owns the order of the waiting jobs of an index policy: sorted chunks of bounded length, found by
bisection. It does not know what a key means; `IndexPolicy` keeps one.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from ..core.policy import Key

_CHUNK = 512


class Ranking:
    """Distinct keys, smallest first. Adding and removing costs O(log n + chunk), reading the first
    k costs O(k).
    """

    def __init__(self) -> None:
        self._chunks: list[list[Key]] = []
        self._last: list[Key] = []  # the largest key of each chunk
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Key]:
        for chunk in self._chunks:
            yield from chunk

    def __contains__(self, key: Key) -> bool:
        at = bisect_left(self._last, key)
        if at == len(self._chunks):
            return False
        chunk = self._chunks[at]
        return chunk[bisect_left(chunk, key)] == key

    def add(self, key: Key) -> None:
        """Put in a key that is not there yet."""
        self._count += 1
        if not self._chunks:
            self._chunks.append([key])
            self._last.append(key)
            return
        at = min(bisect_left(self._last, key), len(self._chunks) - 1)
        chunk = self._chunks[at]
        insort(chunk, key)
        if len(chunk) > 2 * _CHUNK:
            self._chunks[at : at + 1] = [chunk[:_CHUNK], chunk[_CHUNK:]]
            self._last[at : at + 1] = [chunk[_CHUNK - 1], chunk[-1]]
        else:
            self._last[at] = chunk[-1]

    def remove(self, key: Key) -> None:
        """Take out a key. Raises KeyError when it is not there."""
        at = bisect_left(self._last, key)
        if at == len(self._chunks):
            raise KeyError(key)
        chunk = self._chunks[at]
        place = bisect_left(chunk, key)
        if chunk[place] != key:
            raise KeyError(key)
        self._count -= 1
        del chunk[place]
        if chunk:
            self._last[at] = chunk[-1]
        else:
            del self._chunks[at]
            del self._last[at]
