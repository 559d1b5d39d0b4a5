"""The process in which a model's chat template runs.

Owns the bounds that the kernel holds: memory, processor time, no further files, no cores, and an
alarm that ends the process when a rendering goes on after its parent has gone. A template is
foreign code: it may loop for ever or ask for all memory, within the C code of one operation too,
where nothing but the end of its process stops it. It imports jinja2, and neither torch nor
tokenizers. It knows no model; `renderer` starts it as `python -P -m`, writes requests to its
standard input and reads answers from its standard output.

A frame is a kind (one byte), a length (four bytes) and as many bytes. The first request (JSON) is
the template with its bounds, those after it are conversations. An answer is text or a sentence, by
its kind. `model/text/renderer.py` has the other end.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .chat_template import ChatTemplate, TemplateFailure, TooMuchText
from .template_frames import Kind, read_frame, write_frame

_NEEDED_LATER = ("jinja2.constants", "jinja2.debug", "pprint", "random", "textwrap", "linecache", "traceback")
"""What jinja2 imports in the middle of a rendering, when no file can be opened any more."""


def main() -> None:
    """Serve until standard input ends, or memory does."""
    frame = read_frame(sys.stdin.buffer)
    if frame is None:
        return
    bounds = json.loads(frame.body)
    for name in _NEEDED_LATER:
        importlib.import_module(name)
    ChatTemplate("{{ strftime_now('%c') }}{{ 1 | pprint }}", {}).render([], 2**10)  # reads the time zone's file
    _confine(bounds["memory_bytes"])
    template: list[ChatTemplate] = []

    def compiled() -> tuple[Kind, str]:
        template.append(ChatTemplate(bounds["source"], bounds["special"]))
        return Kind.READY, ""

    _answer(compiled, bounds["time_s"])
    while template and (frame := read_frame(sys.stdin.buffer)) is not None:
        asked = json.loads(frame.body)

        def rendered(asked: dict[str, Any] = asked) -> tuple[Kind, str]:
            return Kind.TEXT, template[0].render(asked["messages"], asked["most_characters"])

        _answer(rendered, bounds["time_s"])


def _answer(work: Callable[[], tuple[Kind, str]], time_s: float) -> None:
    """Do it within the time, and write what came of it. Exits after a lack of memory: what is left
    of it is in pieces.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime + time_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
    signal.setitimer(
        signal.ITIMER_REAL, time_s + 1
    )  # its signal ends the process; the parent is earlier where there is one
    try:
        kind, said = work()
        body = said.encode("utf-8", "surrogatepass")
    except TemplateFailure as failure:
        kind, body = Kind.FAILED, str(failure).encode("utf-8", "replace")
    except TooMuchText:
        kind, body = Kind.TOO_LONG, b""
    except MemoryError:
        kind, body = Kind.NO_MEMORY, b""
    signal.setitimer(signal.ITIMER_REAL, 0)
    write_frame(sys.stdout.buffer, kind, body)
    if kind is Kind.NO_MEMORY:
        raise SystemExit(1)


def _confine(memory_bytes: int) -> None:
    """No more memory than this, no file but those that are open, nothing written."""
    mapped = re.search(r"^VmSize:\s+(\d+) kB", _status(), re.MULTILINE)
    _limit(resource.RLIMIT_AS, memory_bytes + (int(mapped[1]) * 1024 if mapped else 2**29))
    _limit(resource.RLIMIT_DATA, memory_bytes)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        _limit(limit, 0)


def _status() -> str:
    try:
        return Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""  # not Linux


def _limit(which: int, most: int) -> None:
    _, hard = resource.getrlimit(which)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, most))


if __name__ == "__main__":
    main()
