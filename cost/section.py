"""One object of a JSON file and the checked reading of its fields.

Owns `Section`: every value is taken by name, type and bounds, and whatever is wrong is said with
file and field. It does not know what the fields mean; `schema` and `table_file` read profiles
through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import InvalidProfile

LARGEST = 1e15
LONGEST_MS = 1e6
"""No part of an iteration takes longer than a quarter of an hour; a file that says so has its units
wrong.
"""
MOST_VALUES = 4096
MOST_ROWS = 1024


class Section:
    """One object of the file at `path` ("" is the whole, else with a dot at its end), so that an
    error can name the field.
    """

    def __init__(self, raw: Any, file: str, path: str) -> None:
        self._file = file
        self._path = path
        if not isinstance(raw, Mapping):
            raise self.wrong("" if path else "file", "an object")
        self._raw = raw

    def only(self, keys: tuple[str, ...]) -> None:
        """Refuse every other key."""
        for key in self._raw:
            if key not in keys:
                raise self.wrong(str(key), f"one of {', '.join(keys)}", "is no field of a profile")

    def has(self, key: str) -> bool:
        """Whether the key stands there."""
        return key in self._raw

    def value(self, key: str) -> Any:
        """Whatever stands there. Raises InvalidProfile when the key is missing, as all that follow."""
        if key not in self._raw:
            raise self.wrong(key, "present", "is missing")
        return self._raw[key]

    def section(self, key: str) -> Section:
        """The object at `key`."""
        return Section(self.value(key), self._file, f"{self._path}{key}.")

    def text(self, key: str) -> str:
        """A text of 1 to 4096 characters."""
        value = self.value(key)
        if not isinstance(value, str) or not 1 <= len(value) <= 4096:
            raise self.wrong(key, "text of 1 to 4096 characters")
        return value

    def whole(self, key: str, low: int) -> int:
        """A whole number from `low` to 2^53."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= 2**53:
            raise self.wrong(key, f"a whole number from {low} to 2^53")
        return value

    def whole_or_null(self, key: str, low: int) -> int | None:
        """The same, or null."""
        return None if self.value(key) is None else self.whole(key, low)

    def speed_or_null(self, key: str) -> float | None:
        """A number above 0, or null."""
        return None if self.value(key) is None else self.real(key, open_low=True)

    def real(self, key: str, *, open_low: bool = False) -> float:
        """A finite number, 0 or more; above 0 with `open_low`."""
        value = self.value(key)
        if not _is_number(value, LARGEST) or (open_low and value == 0):
            raise self.wrong(key, "a finite number above 0" if open_low else "a finite number, 0 or more")
        return float(value)

    def milliseconds(self, key: str) -> float:
        """A time, 0 to LONGEST_MS."""
        return self._number(key, self.value(key), LONGEST_MS)

    def places(self, key: str) -> tuple[float, ...]:
        """A list of 1 to 4096 finite numbers, 0 or more."""
        return self._numbers(key, self.value(key), LARGEST)

    def times(self, key: str) -> tuple[float, ...]:
        """A list of 1 to 4096 times in milliseconds."""
        return self._numbers(key, self.value(key), LONGEST_MS)

    def table(self, key: str) -> tuple[tuple[float, ...], ...]:
        """A list of such lists of times."""
        value = self.value(key)
        if not isinstance(value, list) or not 1 <= len(value) <= MOST_ROWS:
            raise self.wrong(key, f"a list of 1 to {MOST_ROWS} lists")
        return tuple(self._numbers(f"{key}[{at}]", line, LONGEST_MS) for at, line in enumerate(value))

    def _numbers(self, key: str, value: Any, most: float) -> tuple[float, ...]:
        if not isinstance(value, list) or not 1 <= len(value) <= MOST_VALUES:
            raise self.wrong(key, f"a list of 1 to {MOST_VALUES} numbers")
        return tuple(self._number(f"{key}[{at}]", one, most) for at, one in enumerate(value))

    def _number(self, key: str, value: Any, most: float) -> float:
        if not _is_number(value, most):
            raise self.wrong(key, f"a finite number, 0 to {most:g}")
        return float(value)

    def wrong(self, key: str, limit: str, what: str = "cannot be used") -> InvalidProfile:
        """The error that names file, field and limit."""
        field = f"{self._path}{key}".rstrip(".")
        return InvalidProfile(f"Profile {self._file}: {field} {what}; it must be {limit}.", field=field, limit=limit)


def _is_number(value: Any, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most  # no NaN
