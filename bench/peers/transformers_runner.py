"""Transformers `generate` behind JSON lines.

Owns the model and the call. `boot` starts it in the peer's own environment.
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
        self._model: Any = None

    def load(self, asked: dict[str, Any]) -> Mapping[str, Any]:
        """Load the folder in a precision, onto a device."""
        import torch
        import transformers

        torch.set_num_threads(asked["threads"])
        dtype = getattr(torch, asked["dtype"])
        model = transformers.AutoModelForCausalLM.from_pretrained(asked["model"], dtype=dtype)
        self._model = model.to(asked["device"]).eval()
        # A run is to have as many tokens as it was asked for.
        self._model.generation_config = transformers.GenerationConfig(
            do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=True
        )
        return {"versions": versions_of(self._model)}

    def generate(self, asked: dict[str, Any]) -> Mapping[str, Any]:
        """Greedy; prompts are of one length, so nothing is padded."""
        import torch

        begun_ns = _CLOCK.now_ns()
        prompts = torch.tensor(asked["prompts"], dtype=torch.int64, device=self._model.device)
        with torch.inference_mode():
            rows = self._model.generate(
                prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=asked["new_tokens"]
            )
            tokens = rows[:, prompts.shape[1] :].tolist()  # a device has not computed them before they are here
        taken_ns = _CLOCK.now_ns() - begun_ns
        return {"ns": taken_ns, "tokens": tokens}


def versions_of(model: Any) -> dict[str, str]:
    """Of what computes, and how: the attention that this environment gave the model."""
    import torch
    import transformers

    return {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "attention": str(model.config._attn_implementation),
    }


def main() -> None:
    """Serve until the input ends."""
    serve_decoding(Decoding())
