"""Small files in the forms of the published sources, of our own making.

Owns their text: times come from one known formula, so that tests know what an import must find.
Tests of `profiler/sources` and of the fidelity command write them.
"""

from __future__ import annotations

import json
from pathlib import Path

LAYERS = 32  # of llama-3.1-8b, whose name the files bear
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
JOBS = (1, 2, 4, 8, 16, 32, 64)
CONTEXTS = (16, 64, 256, 1024, 4096)
CHUNKS = (16, 64, 256, 1024, 2048)
STEM = "RTX4090_llama31-8b"

DENSE_US = {"embedding": (2.0, 0.01), "final_layernorm": (2.0, 0.01)} | dict.fromkeys(
    ("layernorm", "qkv_proj", "rotary_emb", "o_proj", "gate_up_proj", "act_fn", "down_proj"), (40.0, 0.2)
)


def dense_ms(tokens: int) -> float:
    """What the dense table comes to for the whole model."""
    once = 2 * (2.0 + 0.01 * tokens)
    return (once + LAYERS * 8 * (40.0 + 0.2 * tokens)) / 1e3  # seven operators, one of them twice


def attention_us(chunk: int, before: int, jobs: int, context: int) -> float:
    """One layer: linear, and decodes beside a chunk take twice as long."""
    own = 5.0 + 1e-4 * chunk * (before + chunk / 2) if chunk else 0.0
    beside = 2.0 if chunk else 1.0
    return own + (beside * (2.0 + 0.004 * jobs * context) if jobs else 0.0)


def write_tables(folder: Path, stem: str = f"{STEM}_tp1") -> None:
    """The dense, per_sequence and attention tables."""
    lines = ["layer,tokens,time_us"]
    lines += [f"{name},{n},{a + b * n}" for name, (a, b) in DENSE_US.items() for n in TOKENS]
    (folder / f"{stem}_dense.csv").write_text("\n".join(lines) + "\n")
    lines = ["layer,sequences,time_us"]
    lines += [f"{name},{n},{100 + n}" for name in ("lm_head", "sampler") for n in (1, 16, 64)]
    (folder / f"{stem}_per_sequence.csv").write_text("\n".join(lines) + "\n")
    lines = ["prefill_chunk,kv_prefill,n_decode,kv_decode,time_us"]
    batches = [(jobs, context) for jobs in JOBS for context in CONTEXTS]
    prompts = [(chunk, before) for chunk in CHUNKS for before in (0, 256, 2048)]
    for chunk, before, jobs, context in (
        *((0, 0, *batch) for batch in batches),
        *((*prompt, 0, 0) for prompt in prompts),
        *((*prompt, *batch) for prompt in prompts for batch in batches),
    ):
        lines.append(f"{chunk},{before},{jobs},{context},{attention_us(chunk, before, jobs, context)}")
    (folder / f"{stem}_attention.csv").write_text("\n".join(lines) + "\n")


def write_skew(folder: Path, factor: float, stem: str = f"{STEM}_tp1") -> None:
    """Unequal contexts take `factor` times as long, whatever the batch."""
    lines = ["regime,n,skew,t_mean_us,t_skew_us"]
    lines += [f"{regime},{n},4.0,50.0,{50.0 * factor}" for regime in ("pure", "mixed") for n in (2, 16, 64)]
    (folder / f"{stem}_skew.csv").write_text("\n".join(lines) + "\n")


def write_coefficients(folder: Path) -> Path:
    """Two models, one at two degrees, and the room for KV."""
    entry = {
        "decoding_large_small_bs_threshold": 95,
        "prefill": [18.0, 0.1, 7e-6],
        "decoding_smallbs": [20.0, 6e-4, 0.04],
        "decoding_largebs": [7.0, 6e-4, 0.16],
    }
    half = entry | {"prefill": [12.0, 0.05, 3e-6], "decoding_smallbs": [12.0, 3e-4, 0.03]}
    path = folder / "profiler-a100-80g.json"
    path.write_text(json.dumps({"facebook/opt-13b": {"1": entry, "2": half}, "facebook/opt-66b": {"4": half}}))
    (folder / "max_num_tokens.csv").write_text(
        "model,tp,pp,max_num_tokens\nfacebook/opt-13b,1,1,5000\nfacebook/opt-13b,2,1,9000\n"
    )
    return path


def write_layers(folder: Path) -> None:
    """The older table of layers."""
    names = "input_layernorm q_proj k_proj v_proj rope o_proj post_layernorm gate_proj up_proj act_fn down_proj"
    lines = ["layer_name,input,kv_cache,tp_size,latency(ns)"]
    for n in TOKENS:
        lines += [f"{name},{n},0,1,{20_000 + 100 * n}" for name in names.split()]
        lines += [f"{name},{n},0,1,2000" for name in ("embedding", "final_layernorm")]
        lines += [f"lm_head,{n},0,1,{300_000 + n}", f"attn,{n},0,1,{5000 + n * n / 100}"]
    (folder / "h100_llama31-8b_tp1_layers.csv").write_text("\n".join(lines) + "\n")


def write_sweeps(folder: Path, *, kv_heads: int = 8) -> None:
    """Operators, attention and collectives of llama-3-8b at one and two ranks."""
    operators = (
        "emb input_layernorm attn_pre_proj attn_rope attn_post_proj post_attention_layernorm mlp_up_proj "
        "mlp_act mlp_down_proj add"
    )
    names = [f"time_stats.{name}.median" for name in operators.split()]
    lines = [",".join((*names, "n_kv_head", "n_embd", "num_tokens", "num_tensor_parallel_workers"))]
    for ranks in (1, 2):
        for n in TOKENS:
            lines.append(",".join((*[str((0.05 + 1e-4 * n) / ranks)] * len(names), "8", "4096", str(n), str(ranks))))
    (folder / "a100_mlp_Meta-Llama-3-8B.csv").write_text("\n".join(lines) + "\n")
    head = "time_stats.attn_prefill.median,time_stats.attn_decode.median,n_embd,n_kv_head,num_tensor_parallel_workers,"
    lines = [head + "batch_size,prefill_chunk_size,kv_cache_size,is_prefill"]
    for ranks in (1, 2):
        for chunk in CHUNKS:
            for before in (0, 1024):
                time_ms = 0.005 + 1e-7 * chunk * (before + chunk)
                lines.append(f"{time_ms},,4096,{kv_heads},{ranks},1,{chunk},{before},True")
        for jobs in JOBS:
            for context in CONTEXTS:
                lines.append(f",{0.004 + 1e-6 * jobs * context},4096,{kv_heads},{ranks},{jobs},0,{context},False")
    (folder / "a100_attention.csv").write_text("\n".join(lines) + "\n")
    lines = [
        "time_stats.all_reduce.median,num_workers,size",
        *(f"{0.02 + size / 1e8},2,{size}" for size in (8192, 2**24)),
    ]
    (folder / "a100_all_reduce.csv").write_text("\n".join(lines) + "\n")
