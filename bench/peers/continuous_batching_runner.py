"""Transformers' continuous batching behind JSON lines, without a prefix cache.

Its manager stays with its pages and its thread between calls. Attention is what the environment
has: flash attention where it was installed there, else torch's own. `boot` starts it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.clock import MonotonicClock
from .talk import Answer, Asked, Generate, serve_decoding
from .transformers_runner import versions_of

LOOK_S = 1.0
"""How long a result is waited for before its thread is looked at."""
END_S = 5.0
MANAGERS: list[Any] = []


def load(asked: Asked) -> tuple[Mapping[str, str], Generate]:
    """Load the folder in a precision, onto a device, with pages for a whole batch."""
    import torch
    import transformers
    from transformers.generation.continuous_batching.utils import WorkloadHints

    clock = MonotonicClock()
    torch.set_num_threads(asked["threads"])
    dtype, most, room = getattr(torch, asked["dtype"]), asked["most"], asked["room"]
    model = transformers.AutoModelForCausalLM.from_pretrained(asked["model"], dtype=dtype)
    model = model.to(asked["device"]).eval()
    sizes = transformers.ContinuousBatchingConfig(allow_block_sharing=False, max_requests_per_batch=most)
    # By itself it takes nearly all memory of a device, of which others have a part.
    sizes.num_blocks = most * -(-room // sizes.page_size) + 1
    with torch.inference_mode():
        manager = model.init_continuous_batching(
            # A run is to have as many tokens as it was asked for: -1 ends none.
            generation_config=transformers.GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0),
            continuous_batching_config=sizes,
            workload_hints=WorkloadHints(max_prompt_length=room, max_generated_length=0, num_requests=most),
        )
        manager.warmup()
        manager.start()
    MANAGERS.append(manager)

    def generate(asked: Asked) -> Answer:
        begun_ns = clock.now_ns()
        names = manager.add_requests(asked["prompts"], max_new_tokens=asked["new_tokens"])
        done: dict[str, Any] = {}
        while len(done) < len(names):
            result = manager.get_result(timeout=LOOK_S)
            if result is None:
                if not manager.is_running():
                    raise RuntimeError("its thread has ended")
            elif result.error is not None:
                raise RuntimeError(result.error)
            elif result.is_finished():
                done[result.request_id] = result.generated_tokens
        taken_ns = clock.now_ns() - begun_ns
        return {"ns": taken_ns, "tokens": [done[name] for name in names]}

    return versions_of(model), generate


def main() -> None:
    """Serve until the input ends, then end the manager's thread, which would keep the process."""
    serve_decoding(load)
    for manager in MANAGERS:
        manager.stop(block=True, timeout=END_S)
        manager.destroy()
