"""Our engine behind JSON lines: `LLM`, with scheduler, KV planner and executor as a server has them.

Owns the call; `engine` starts it as a process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ... import __version__
from ...core.clock import MonotonicClock
from ...core.sampling import SamplingParams
from ...serving.llm import LLM
from .talk import serve_decoding

MEASURING_TOKENS = 2048
"""What the engine wants at its start, to measure what iterations cost."""
_CLOCK = MonotonicClock()


class Decoding:
    """A loaded model."""

    def __init__(self) -> None:
        self._llm: LLM | None = None

    def load(self, asked: dict[str, Any]) -> Mapping[str, Any]:
        """Load the folder in a precision, onto a device, with room for a whole batch."""
        self._llm = LLM(
            asked["model"],
            device=asked["device"],
            dtype=asked["dtype"],
            threads=asked["threads"],
            max_batch=asked["most"],
            kv_tokens=(asked["most"] + 1) * asked["room"] + MEASURING_TOKENS,
            host_kv_tokens=4 * asked["room"],
        )
        return {"versions": {"skipjoin": __version__}}

    def generate(self, asked: dict[str, Any]) -> Mapping[str, Any]:
        """Greedy, all prompts submitted at once."""
        assert self._llm is not None, "loaded first"
        sampling = SamplingParams(max_new_tokens=asked["new_tokens"], temperature=0.0, ignore_eos=True)
        begun_ns = _CLOCK.now_ns()
        results = self._llm.generate(asked["prompts"], sampling, progress=False)
        taken_ns = _CLOCK.now_ns() - begun_ns
        return {"ns": taken_ns, "tokens": [list(result.token_ids) for result in results]}


def main() -> None:
    """Serve until the input ends."""
    serve_decoding(Decoding())


if __name__ == "__main__":
    main()
