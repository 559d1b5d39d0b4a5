"""The processes that decode for a measurement: every system as a line of a table, and one loop.

Owns how each system is loaded and called, and JSON lines with the measurement: a line {"do": WHAT,
...} in, a line {"ok": ...} or {"error": ...} out, until the input ends. `boot` starts it in a
peer's own environment, where little but Python is: what a system needs is imported when it is
loaded. `runner` asks. Every system decodes `prompts` greedily, `new_tokens` each.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...core.clock import MonotonicClock

_PR_SET_PDEATHSIG = 1
"""Linux, sys/prctl.h."""
LOOK_S, END_S = 1.0, 5.0
"""How long a result of continuous batching is waited for before its thread is looked at; and how
long its end."""
KEPT = 2
MEASURING_TOKENS = 2048
"""What our engine wants at its start, to measure what iterations cost."""
CLOCK = MonotonicClock()
Asked = dict[str, Any]
Answer = Mapping[str, Any]
Tokens = list[list[int]]
Decode = Callable[[list[list[int]], int], tuple[int, Tokens]]
"""(prompts, new tokens): the nanoseconds that it took, and the tokens."""


# one way to load each system ----------------------------------------------------------------------
def own(asked: Asked) -> tuple[Mapping[str, str], Decode]:
    """`LLM`, with the parts that a server has and room for a whole batch."""
    from ... import __version__
    from ...core.sampling import SamplingParams
    from ...serving.llm import LLM

    llm = LLM(
        asked["model"],
        device=asked["device"],
        dtype=asked["dtype"],
        threads=asked["threads"],
        max_batch=asked["most"],
        kv_tokens=(asked["most"] + 1) * asked["room"] + MEASURING_TOKENS,
        host_kv_tokens=4 * asked["room"],
    )

    def decode(prompts: Tokens, count: int) -> tuple[int, Tokens]:
        sampling = SamplingParams(max_new_tokens=count, temperature=0.0, ignore_eos=True)
        taken_ns, results = _timed(lambda: llm.generate(prompts, sampling, progress=False))
        return taken_ns, [list(result.token_ids) for result in results]

    return {"skipjoin": __version__}, decode


def vllm(asked: Asked) -> tuple[Mapping[str, str], Decode]:
    """vLLM's `LLM`, compiled as it comes, without a prefix cache."""
    import torch
    import vllm

    engine = vllm.LLM(
        model=asked["model"],
        dtype=asked["dtype"],
        max_num_seqs=asked["most"],
        max_model_len=asked["room"],
        enable_prefix_caching=False,
        disable_log_stats=True,
    )

    def decode(prompts: Tokens, count: int) -> tuple[int, Tokens]:
        sampling = vllm.SamplingParams(temperature=0.0, max_tokens=count, ignore_eos=True, detokenize=False)
        given = [{"prompt_token_ids": prompt} for prompt in prompts]
        taken_ns, results = _timed(lambda: engine.generate(given, sampling, use_tqdm=False))
        return taken_ns, [list(result.outputs[0].token_ids) for result in results]

    return {"vllm": vllm.__version__, "torch": torch.__version__}, decode


def ctranslate2(asked: Asked) -> tuple[Mapping[str, str], Decode]:
    """CTranslate2, converted, in float32 on the CPU."""
    import ctranslate2

    folder = converted(Path(asked["model"]), Path(asked["kept"]))
    words: list[str] = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    generator = ctranslate2.Generator(
        str(folder), device="cpu", compute_type="float32", inter_threads=1, intra_threads=asked["threads"]
    )

    def decode(prompts: Tokens, count: int) -> tuple[int, Tokens]:
        # The least length keeps the end token out, where the others go on behind it: outputs differ
        # from there.
        how = {"max_length": count, "min_length": count, "beam_size": 1, "sampling_topk": 1}
        how |= {"max_batch_size": len(prompts), "include_prompt_in_result": False}
        given = [[words[token] for token in prompt] for prompt in prompts]
        taken_ns, results = _timed(lambda: generator.generate_batch(given, **how))
        return taken_ns, [result.sequences_ids[0] for result in results]

    return {"ctranslate2": ctranslate2.__version__}, decode


def converted(model: Path, kept: Path) -> Path:
    """The folder that CTranslate2 reads, made of `model` once for the same contents.

    The `KEPT` that were wanted last stay; older ones, and what was left half-made, are deleted.
    """
    digest = hashlib.sha256()
    for path in sorted(model.glob("*.json")) + sorted(model.glob("*.safetensors")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    folder = kept / digest.hexdigest()[:16]
    if not folder.is_dir():
        from ctranslate2.converters import TransformersConverter

        making = kept / f"{folder.name}.new"
        shutil.rmtree(making, ignore_errors=True)
        making.parent.mkdir(parents=True, exist_ok=True)
        TransformersConverter(str(model)).convert(str(making))
        making.rename(folder)
    os.utime(folder)
    by_use = sorted((path for path in kept.iterdir() if path.is_dir()), key=lambda path: -path.stat().st_mtime_ns)
    for at, path in enumerate(by_use):
        if at >= KEPT or path.suffix == ".new":
            shutil.rmtree(path, ignore_errors=True)
    return folder


def transformers(asked: Asked) -> tuple[Mapping[str, str], Decode]:
    """Transformers' `generate`."""
    import torch
    from transformers import GenerationConfig

    model, versions = _transformers_model(asked)
    # A run is to have as many tokens as it was asked for.
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=True)

    def decode(prompts: Tokens, count: int) -> tuple[int, Tokens]:
        def all_of_it() -> Tokens:
            # Of one length, so nothing is padded. A device has not computed the tokens before they
            # are here.
            given = torch.tensor(prompts, dtype=torch.int64, device=model.device)
            rows = model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=count)
            tokens: Tokens = rows[:, given.shape[1] :].tolist()
            return tokens

        with torch.inference_mode():
            return _timed(all_of_it)

    return versions, decode


def continuous_batching(asked: Asked) -> tuple[Mapping[str, str], Decode]:
    """Transformers' continuous batching, without a prefix cache.

    Its manager stays with its pages and its thread between calls. Attention is what the environment
    has: flash attention where it was installed there, else torch's own.
    """
    import torch
    from transformers import ContinuousBatchingConfig, GenerationConfig
    from transformers.generation.continuous_batching.utils import WorkloadHints

    most, room = asked["most"], asked["room"]
    model, versions = _transformers_model(asked)
    sizes = ContinuousBatchingConfig(allow_block_sharing=False, max_requests_per_batch=most)
    # By itself it takes nearly all memory of a device, of which others have a part.
    sizes.num_blocks = most * -(-room // sizes.page_size) + 1
    with torch.inference_mode():
        manager = model.init_continuous_batching(
            # A run is to have as many tokens as it was asked for: -1 ends none.
            generation_config=GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0),
            continuous_batching_config=sizes,
            workload_hints=WorkloadHints(max_prompt_length=room, max_generated_length=0, num_requests=most),
        )
        manager.warmup()
        manager.start()
    _ENDINGS.append(lambda: (manager.stop(block=True, timeout=END_S), manager.destroy()))

    def decode(prompts: Tokens, count: int) -> tuple[int, Tokens]:
        def all_of_it() -> Tokens:
            names, done = manager.add_requests(prompts, max_new_tokens=count), dict[str, list[int]]()
            while len(done) < len(names):
                result = manager.get_result(timeout=LOOK_S)
                if result is None and not manager.is_running():
                    raise RuntimeError("its thread has ended")
                if result is not None and result.error is not None:
                    raise RuntimeError(result.error)
                if result is not None and result.is_finished():
                    done[result.request_id] = result.generated_tokens
            return [done[name] for name in names]

        return _timed(all_of_it)

    return versions, decode


def _transformers_model(asked: Asked) -> tuple[Any, dict[str, str]]:
    """The model, and what computes it, and how: the attention that this environment gave it."""
    import torch
    import transformers

    torch.set_num_threads(asked["threads"])
    dtype = getattr(torch, asked["dtype"])
    model = transformers.AutoModelForCausalLM.from_pretrained(asked["model"], dtype=dtype)
    attention = str(model.config._attn_implementation)
    versions = {"transformers": transformers.__version__, "torch": torch.__version__, "attention": attention}
    return model.to(asked["device"]).eval(), versions


def _timed(work: Callable[[], Any]) -> tuple[int, Any]:
    begun_ns = CLOCK.now_ns()
    result = work()
    return CLOCK.now_ns() - begun_ns, result


# the loop -----------------------------------------------------------------------------------------
LOADERS: dict[str, Callable[[Asked], tuple[Mapping[str, str], Decode]]] = {
    "own": own,
    "vllm": vllm,
    "ctranslate2": ctranslate2,
    "transformers": transformers,
    "continuous_batching": continuous_batching,
}
ROOF = "roof"
"""Besides them: linear layers alone, and reading the weights; on the CPU, whose roof it is."""
_ENDINGS: list[Callable[[], object]] = []
"""What ends threads that would keep the process."""


def main(name: str) -> None:
    """Serve for one system until the input ends."""
    serve(_roof() if name == ROOF else _decoding(name))
    for end in _ENDINGS:
        end()


def _decoding(name: str) -> dict[str, Callable[[Asked], Answer]]:
    decode: list[Decode] = []

    def load(asked: Asked) -> Answer:
        versions, found = LOADERS[name](asked)
        decode.append(found)
        return {"versions": versions}

    def generate(asked: Asked) -> Answer:
        taken_ns, tokens = decode[-1](asked["prompts"], asked["new_tokens"])
        return {"ns": taken_ns, "tokens": tokens}

    return {"load": load, "generate": generate}


def _roof() -> dict[str, Callable[[Asked], Answer]]:
    from ...profiler.measure.roof import LinearRoof

    roofs: list[LinearRoof] = []

    def load(asked: Asked) -> Answer:
        roofs.append(LinearRoof(asked["model"], asked["dtype"], asked["threads"]))
        return {"versions": roofs[-1].versions()}

    def linear(asked: Asked) -> Answer:
        roof, rows = roofs[-1], asked["rows"]
        step_ns, prompt_ns = roof.step_ns(rows), roof.prompt_ns(asked["prompt_rows"], rows)
        return {"step_ns": step_ns, "prompt_ns": prompt_ns, "read_ns": roof.read_ns()}

    return {"load": load, "linear": linear}


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


if __name__ == "__main__":
    main(sys.argv[1])
