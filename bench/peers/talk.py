"""JSON lines between a measurement and the process that decodes for it.

Owns the loop on the side of the runner: a line {"do": WHAT, ...} in, a line {"ok": ...} or
{"error": ...} out, until the input ends. It imports nothing beyond Python, because it runs in the
peers' environments. Every `*_runner` here serves with it; `runner` asks.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

_PR_SET_PDEATHSIG = 1
"""Linux, sys/prctl.h."""
Asked = dict[str, Any]
Answer = Mapping[str, Any]
Generate = Callable[[Asked], Answer]
"""Decodes `prompts` greedily, `new_tokens` each; the `tokens`, and the `ns` it took."""


def serve_decoding(load: Callable[[Asked], tuple[Mapping[str, str], Generate]]) -> None:
    """Serve until the input ends. `load` returns versions and what decodes."""
    handlers: dict[str, Callable[[Asked], Answer]] = {}

    def loaded(asked: Asked) -> Answer:
        versions, handlers["generate"] = load(asked)
        return {"versions": versions}

    handlers["load"] = loaded
    serve(handlers)


def serve(handlers: Mapping[str, Callable[[Asked], Answer]]) -> None:
    """Answer every line. What libraries print goes to standard error, never between the answers.

    The asking process pauses this one between questions, so it could not see its input end: on
    Linux it asks to be killed when the other one dies, before the other one's guardian does.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for line in sys.stdin:
            answers.write(json.dumps(_answered(handlers, line)) + "\n")
            answers.flush()


def _answered(handlers: Mapping[str, Callable[[Asked], Answer]], line: str) -> dict[str, Any]:
    try:
        asked = json.loads(line)
        return {"ok": dict(handlers[asked["do"]](asked))}
    except Exception as error:  # noqa: BLE001  whatever a library raises is told, with its trace in the log
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"[:500]}
