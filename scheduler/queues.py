"""The queues of the ladder: one FIFO per level with stable places.

Owns who stands where; a place is given once, at the tail, and kept until the job is placed anew or
leaves. It knows no quantum and no service; the MLFQ policies place jobs and read them in order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import chain

from ..core.ids import Handle, Level
from ..core.policy import Key


class LevelQueues:
    """FIFO per level. Placing and removing is O(1), reading the first k jobs O(levels + k).

    An OrderedDict, not a dict: a dict walks over the gaps that its removed head left behind.
    """

    def __init__(self) -> None:
        #: The entries as `order` tells them.
        self._levels: list[OrderedDict[Handle, tuple[Key, Handle]]] = []
        self._keys: dict[Handle, Key] = {}
        self._places = 0
        self.key: Callable[[Handle], Key] = self._keys.__getitem__
        """(level, place, handle) of a job: the look-up itself, for a turn asks it of every
        resident.
        """

    def __len__(self) -> int:
        return len(self._keys)

    def place(self, handle: Handle, level: Level) -> None:
        """Put a job at the tail of `level`, out of where it stood."""
        old = self._keys.get(handle)
        if old is not None:
            del self._levels[old[0] - 1][handle]
        while len(self._levels) < level:
            self._levels.append(OrderedDict())
        self._places += 1
        self._keys[handle] = key = (level, self._places, handle)
        self._levels[level - 1][handle] = (key, handle)

    def remove(self, handle: Handle) -> None:
        """Take a job out."""
        key = self._keys.pop(handle)
        del self._levels[key[0] - 1][handle]

    def level(self, handle: Handle) -> Level:
        """The level that the job stands on."""
        return Level(self._keys[handle][0])

    def order(self) -> Iterator[tuple[Key, Handle]]:
        """All jobs by (level, place), lazily."""
        return chain.from_iterable(queue.values() for queue in self._levels)

    def counts(self) -> list[int]:
        """Jobs per level, from level 1 to the lowest level ever used."""
        return [len(queue) for queue in self._levels]
