"""Command-line flags made from the settings model.

Owns the way from a field to a flag, so that no option is declared twice. It knows no single option.
`serving/command.py` uses it, and whoever prints the options (documentation, completion).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from ..core.errors import InvalidSettings
from .settings import GROUPS, ServeSettings, load_settings

POSITIONAL = "model_word"
"""Where the namespace has the model that was given without a flag."""
SHORTER: dict[str, tuple[str, ...]] = {"validate_every_turn": ("--validate",)}
"""Other words for a switch."""
_METAVARS: dict[Any, str] = {int: "N", float: "X", Path: "PATH", str: "TEXT"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--settings FILE` and one flag per field of ServeSettings, under its group's title; flags
    not given leave nothing in the namespace.
    """
    parser.usage = f"{parser.prog} [MODEL] [--settings FILE] [FLAG ...]"
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        default=None,
        help="TOML file of settings; SKIPJOIN_* and flags win over it",
    )
    parser.add_argument(
        POSITIONAL,
        nargs="?",
        metavar="MODEL",
        default=None,
        help="a folder, or an id of the Hugging Face hub; the same as --model",
    )
    for title, group in GROUPS.items():
        if group.model_fields:
            _add_group(parser.add_argument_group(title, group.__doc__), group.model_fields)


def _add_group(group: argparse._ArgumentGroup, options: Mapping[str, FieldInfo]) -> None:
    for name, field in options.items():
        flag = "--" + name.replace("_", "-")
        words = (flag, *SHORTER.get(name, ()))
        kind = _kind(field)
        text = _help(field)
        if get_origin(kind) is tuple:
            group.add_argument(flag, dest=name, metavar="TEXT", action="append", default=argparse.SUPPRESS, help=text)
        elif kind is bool:
            group.add_argument(
                *words, dest=name, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
            )
        elif get_origin(kind) is Literal:
            # Not `choices`: a wrong one is then said with the usage in front, unlike any other
            # wrong value.
            choices = "{" + ",".join(get_args(kind)) + "}"
            group.add_argument(flag, dest=name, metavar=choices, default=argparse.SUPPRESS, help=text)
        else:
            group.add_argument(
                flag, dest=name, metavar=_METAVARS.get(kind, "TEXT"), default=argparse.SUPPRESS, help=text
            )


def settings_from(args: argparse.Namespace) -> ServeSettings:
    """The settings that a parsed command line asks for. Raises InvalidSettings."""
    given = {name: value for name, value in vars(args).items() if name in ServeSettings.model_fields}
    typed = getattr(args, POSITIONAL)
    if typed is not None:
        if "model" in given:
            raise InvalidSettings(
                f"The model is given twice, as {typed} and as --model {given['model']}.", field="model"
            )
        given["model"] = typed
    return load_settings(given, args.settings)


def _kind(field: FieldInfo) -> Any:
    kind = field.annotation
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    return kind


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("%", "%%")
    default = field.default
    return text if default is None or default is False or default in ("", ()) else f"{text} (default {default})"
