"""Our engine behind JSON lines: `LLM`, with the parts that a server has."""

from __future__ import annotations

from collections.abc import Mapping

from ... import __version__
from ...core.clock import MonotonicClock
from ...core.sampling import SamplingParams
from ...serving.llm import LLM
from .talk import Answer, Asked, Generate, serve_decoding

MEASURING_TOKENS = 2048
"""What the engine wants at its start, to measure what iterations cost."""


def load(asked: Asked) -> tuple[Mapping[str, str], Generate]:
    """Load the folder in a precision, onto a device, with room for a whole batch."""
    clock = MonotonicClock()
    llm = LLM(
        asked["model"],
        device=asked["device"],
        dtype=asked["dtype"],
        threads=asked["threads"],
        max_batch=asked["most"],
        kv_tokens=(asked["most"] + 1) * asked["room"] + MEASURING_TOKENS,
        host_kv_tokens=4 * asked["room"],
    )

    def generate(asked: Asked) -> Answer:
        sampling = SamplingParams(max_new_tokens=asked["new_tokens"], temperature=0.0, ignore_eos=True)
        begun_ns = clock.now_ns()
        results = llm.generate(asked["prompts"], sampling, progress=False)
        taken_ns = clock.now_ns() - begun_ns
        return {"ns": taken_ns, "tokens": [list(result.token_ids) for result in results]}

    return {"skipjoin": __version__}, generate


if __name__ == "__main__":
    serve_decoding(load)
