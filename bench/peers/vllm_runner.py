"""vLLM's `LLM` behind JSON lines, without a prefix cache; see `boot`."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.clock import MonotonicClock
from .talk import Answer, Asked, Generate, serve_decoding


def load(asked: Asked) -> tuple[Mapping[str, str], Generate]:
    """Load the folder in a precision, compiled as it comes."""
    import torch
    import vllm

    clock = MonotonicClock()
    engine = vllm.LLM(
        model=asked["model"],
        dtype=asked["dtype"],
        max_num_seqs=asked["most"],
        max_model_len=asked["room"],
        enable_prefix_caching=False,
        disable_log_stats=True,
    )

    def generate(asked: Asked) -> Answer:
        tokens = asked["new_tokens"]
        sampling = vllm.SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        prompts = [{"prompt_token_ids": prompt} for prompt in asked["prompts"]]
        begun_ns = clock.now_ns()
        results = engine.generate(prompts, sampling, use_tqdm=False)
        taken_ns = clock.now_ns() - begun_ns
        return {"ns": taken_ns, "tokens": [list(result.outputs[0].token_ids) for result in results]}

    return {"vllm": vllm.__version__, "torch": torch.__version__}, generate


def main() -> None:
    """Serve until the input ends."""
    serve_decoding(load)
