"""What README and docs say, held against the product.

Owns a check for each kind of statement that a machine can compare: links, metrics, settings,
parameters, error codes, commands and Python blocks. A check takes text and what the product says
and answers sentences, one per offence, none when all is well. The tables are written in Markdown by
hand; `default` and `bounds` give the one form in which a value stands in them.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
METRIC = re.compile(r"\bskipjoin_[a-z0-9_]+")
NAMED_FILE = re.compile(r"[\w/.-]+\.(?:py|proto)")
NOTHING = "-"


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return FENCE.sub("", text)


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks in these languages."""
    return [body for language, body in FENCE.findall(text) if language in languages]


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its two head lines; no rows when there
    is no such table.
    """
    _, found, behind = text.partition(f"\n{heading}\n")
    lines: list[str] = []
    for line in behind.splitlines() if found else ():
        if line.startswith("|"):
            lines.append(line)
        elif lines or line.startswith("#"):
            break
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


# links
# --------------------------------------------------------------------------------------------------------------
def anchors(text: str) -> set[str]:
    """What a link behind # may name, as forges make it of headings."""
    heads = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def check_width(text: str, most: int) -> list[str]:
    """No line of prose is longer; tables and what cannot be broken may be."""
    long = [line for line in prose(text).splitlines() if len(line) > most and not line.lstrip().startswith("|")]
    return [f"more than {most} columns: {line}" for line in long if " " in line.strip("-*> ")]


def check_links(file: Path, root: Path) -> list[str]:
    """Every relative link reaches a file of the checkout, and the heading if it names one."""
    offences = []
    for target in LINK.findall(prose(file.read_text(encoding="utf-8"))):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        where, _, anchor = target.partition("#")
        there = (file.parent / where).resolve() if where else file
        if not there.is_relative_to(root) or not there.exists():
            offences.append(f"{file.name}: {target} leads nowhere")
        elif anchor and anchor not in anchors(there.read_text(encoding="utf-8")):
            offences.append(f"{file.name}: {target} names a heading that there is not")
    return offences


# files
# --------------------------------------------------------------------------------------------------------------
def check_files(text: str, root: Path) -> list[str]:
    """Every code file that the prose names is there.

    One named without its folder lies in the folder that was named last.
    """
    offences, folder = [], Path()
    for span in SPAN.findall(prose(text)):
        if not NAMED_FILE.fullmatch(span):
            continue
        named = Path(span)
        if len(named.parts) > 1:
            folder = named.parent
        if not (root / folder / named.name).is_file():
            offences.append(f"there is no {span} (in {folder})")
    return offences


# metrics
# ------------------------------------------------------------------------------------------------------------
def check_metrics(text: str, exported: Iterable[str]) -> list[str]:
    """Every exported metric is told of, and none that there is not. A histogram's series count as
    itself.
    """
    told, there = set(METRIC.findall(text)), set(exported)
    series = {f"{name}_{part}" for name in there for part in ("bucket", "sum", "count")}
    return [f"{name} is not told of" for name in sorted(there - told)] + [
        f"{name} is no metric" for name in sorted(told - there - series)
    ]


# settings and parameters
# --------------------------------------------------------------------------------------------
def default(value: object) -> str:
    """A default as a table shows it: - for none, whole floats without a point."""
    if value is None or value in ("", ()):
        return NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def bounds(metadata: Iterable[Any]) -> str:
    """The bounds of a number as a table shows them; - for none."""
    said = []
    for sign, name in ((">", "gt"), (">=", "ge"), ("<=", "le")):
        said += [f"{sign} {default(value)}" for one in metadata if (value := getattr(one, name, None)) is not None]
    return ", ".join(said) or NOTHING


def check_table(table: list[list[str]], fields: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A row for every field, first its name, then exactly the given cells; and no row without a
    field.
    """
    told = {row[0].strip("`"): tuple(cell.strip("`") for cell in row[1:]) for row in table}
    offences = [f"{name} has no row" for name in fields if name not in told]
    offences += [f"{name} is a row and there is no such field" for name in told if name not in fields]
    for name, cells in fields.items():
        if name in told and told[name][: len(cells)] != cells:
            offences.append(f"{name} is {cells} and the table says {told[name][: len(cells)]}")
    return offences


# commands
# -----------------------------------------------------------------------------------------------------------
Parsers = Mapping[str, argparse.ArgumentParser]


def command_lines(text: str) -> Iterator[list[str]]:
    """The words behind `skipjoin` wherever a document shows a command: in code spans and at the
    start of a line of a shell block.
    """
    found = [span for span in SPAN.findall(prose(text)) if span.startswith("skipjoin ")]
    for block in blocks(text, "bash", "sh", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            shown = line.removeprefix("$ ").strip()
            while match := re.match(r"[A-Z_]+=\S* ", shown):
                shown = shown[match.end() :]
            if shown.startswith("skipjoin "):
                found.append(shown)
    for shown in found:
        lexer = shlex.shlex(shown, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= set("|&;<>"):
                break
            words.append(word)
        yield words[1:]


def words_below(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser] | None:
    """The parsers of its sub-commands, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return None


def check_command(words: list[str], parsers: Parsers) -> list[str]:
    """The command, its sub-command and its flags exist. Placeholders and values are not looked at."""
    shown = "skipjoin " + " ".join(words)
    if not words or words[0].startswith("--") or words[0].isupper():
        return [f"{shown}: no such flag" for word in words[:1] if word.startswith("--") and word not in TOP_FLAGS]
    if words[0] not in parsers:
        return [f"{shown}: there is no command {words[0]}"]
    parser, rest = parsers[words[0]], words[1:]
    below = words_below(parser)
    if below is not None and rest and not rest[0].startswith("-"):
        asked = rest[0].split("|")
        offences = [f"{shown}: there is no {word} below {words[0]}" for word in asked if word not in below]
        if offences or rest[0].isupper():
            return offences if not rest[0].isupper() else []
        parser, rest = below[asked[0]], rest[1:]
    flags = [word.partition("=")[0].strip("[]") for word in rest if word.strip("[]").startswith("--")]
    return [f"{shown}: there is no flag {flag}" for flag in flags if flag not in parser._option_string_actions]


TOP_FLAGS = {"--help", "--version"}


def all_flags(parsers: Parsers) -> set[str]:
    """Every long flag of every command."""
    found = set(TOP_FLAGS)
    for parser in parsers.values():
        for one in (parser, *(words_below(parser) or {}).values()):
            found.update(flag for flag in one._option_string_actions if flag.startswith("--"))
    return found


def check_flags(text: str, flags: set[str]) -> list[str]:
    """A flag named by itself belongs to some command."""
    named = {word for span in SPAN.findall(prose(text)) for word in span.split()[:1] if word.startswith("--")}
    return [f"{flag} is a flag of no command" for flag in sorted(named) if flag.partition("=")[0] not in flags]


# Python
# -------------------------------------------------------------------------------------------------------------
def check_python(text: str) -> list[str]:
    """Python blocks parse, and what they import from the product is there."""
    offences = []
    for block in blocks(text, "python"):
        try:
            tree = ast.parse(block)
        except SyntaxError as error:
            offences.append(f"a Python block does not parse: {error.msg}")
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "skipjoin":
                module = importlib.import_module(str(node.module))
                there = set(dir(module)) | set(getattr(module, "__all__", ()))
                offences += [f"{node.module} has no {alias.name}" for alias in node.names if alias.name not in there]
    return offences
