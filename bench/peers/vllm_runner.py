"""vLLM's `LLM` behind JSON lines.

Owns the engine and the call, without a prefix cache. `boot` starts it in the peer's own environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.clock import MonotonicClock
from .talk import serve_decoding

_CLOCK = MonotonicClock()


class Decoding:
    """A loaded model."""

    def __init__(self) -> None:
        self._engine: Any = None

    def load(self, asked: dict[str, Any]) -> Mapping[str, Any]:
        """Load the folder in a precision, compiled as it comes."""
        import torch
        import vllm

        self._engine = vllm.LLM(
            model=asked["model"],
            dtype=asked["dtype"],
            max_num_seqs=asked["most"],
            max_model_len=asked["room"],
            enable_prefix_caching=False,
            disable_log_stats=True,
        )
        return {"versions": {"vllm": vllm.__version__, "torch": torch.__version__}}

    def generate(self, asked: dict[str, Any]) -> Mapping[str, Any]:
        """Greedy."""
        import vllm

        sampling = vllm.SamplingParams(
            temperature=0.0, max_tokens=asked["new_tokens"], ignore_eos=True, detokenize=False
        )
        prompts = [{"prompt_token_ids": prompt} for prompt in asked["prompts"]]
        begun_ns = _CLOCK.now_ns()
        results = self._engine.generate(prompts, sampling, use_tqdm=False)
        taken_ns = _CLOCK.now_ns() - begun_ns
        return {"ns": taken_ns, "tokens": [list(result.outputs[0].token_ids) for result in results]}


def main() -> None:
    """Serve until the input ends."""
    serve_decoding(Decoding())
