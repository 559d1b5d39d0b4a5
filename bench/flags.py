"""What the commands of `bench` have in common on the command line.

Owns how a flag is declared, the bounds of numbers and lists of words. It knows no command.
"""

from __future__ import annotations

import argparse
from typing import Any

from ..core.errors import InvalidSettings


class Flags:
    """Declares the flags of one command, each on a line."""

    def __init__(self, parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
        self._parser = parser

    def value(self, name: str, metavar: str, words: str, default: Any = None, kind: Any = str, **more: Any) -> None:
        """`--name METAVAR`; a default is told behind the words."""
        if default is not None:
            words = f"{words} (default %(default)s)".strip()
            kind = type(default) if kind is str else kind
        self._parser.add_argument(f"--{name}", metavar=metavar, help=words, default=default, type=kind, **more)

    def choice(self, name: str, choices: tuple[str, ...], words: str, default: str | None = None) -> None:
        """`--name` with one of `choices`."""
        if default is not None:
            words = f"{words} (default %(default)s)".strip()
        self._parser.add_argument(f"--{name}", choices=choices, help=words, default=default)

    def switch(self, name: str, words: str) -> None:
        """`--name`, there or not."""
        self._parser.add_argument(f"--{name}", action="store_true", help=words)


def check_bounds(args: object, **bounds: tuple[float, float]) -> None:
    """Raises InvalidSettings for the first flag that is given and outside of its (least, most)."""
    for name, (low, high) in bounds.items():
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            flag = name.replace("_", "-")
            raise InvalidSettings(f"--{flag} is {value}.", field=flag, limit=f"{low}..{high}")


def words_of(text: str) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
