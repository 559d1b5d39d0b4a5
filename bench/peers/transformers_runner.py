"""Transformers' `generate` behind JSON lines. `boot` starts it in the peer's own environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.clock import MonotonicClock
from .talk import Answer, Asked, Generate, serve_decoding


def load(asked: Asked) -> tuple[Mapping[str, str], Generate]:
    """Load the folder in a precision, onto a device."""
    import torch
    import transformers

    clock = MonotonicClock()
    torch.set_num_threads(asked["threads"])
    dtype = getattr(torch, asked["dtype"])
    model = transformers.AutoModelForCausalLM.from_pretrained(asked["model"], dtype=dtype)
    model = model.to(asked["device"]).eval()
    # A run is to have as many tokens as it was asked for.
    model.generation_config = transformers.GenerationConfig(
        do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=True
    )

    def generate(asked: Asked) -> Answer:
        begun_ns = clock.now_ns()
        # Of one length, so nothing is padded.
        prompts = torch.tensor(asked["prompts"], dtype=torch.int64, device=model.device)
        with torch.inference_mode():
            mask, count = torch.ones_like(prompts), asked["new_tokens"]
            rows = model.generate(prompts, attention_mask=mask, max_new_tokens=count)
            tokens = rows[:, prompts.shape[1] :].tolist()  # a device has not computed them before they are here
        return {"ns": clock.now_ns() - begun_ns, "tokens": tokens}

    return versions_of(model), generate


def versions_of(model: Any) -> dict[str, str]:
    """Of what computes, and how: the attention that this environment gave the model."""
    import torch
    import transformers

    attention = str(model.config._attn_implementation)
    return {"transformers": transformers.__version__, "torch": torch.__version__, "attention": attention}


def main() -> None:
    """Serve until the input ends."""
    serve_decoding(load)
