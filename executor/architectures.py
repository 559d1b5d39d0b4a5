"""The model families that can be loaded, one row each.

Owns the table from an architecture's name to the names of its tensors. It does not read files or hold tensors; config and weights consult it.
A new family whose decoder has the same parts is one more row; a new part is one more flag.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Architecture:
    """Tensor names of a family; `{i}` stands for the layer. `ignored` are suffixes of tensors that old files carry and nobody needs."""

    name: str
    embedding: str = "model.embed_tokens"
    final_norm: str = "model.norm"
    head: str = "lm_head"
    attention_norm: str = "model.layers.{i}.input_layernorm"
    query: str = "model.layers.{i}.self_attn.q_proj"
    key: str = "model.layers.{i}.self_attn.k_proj"
    value: str = "model.layers.{i}.self_attn.v_proj"
    attention_out: str = "model.layers.{i}.self_attn.o_proj"
    mlp_norm: str = "model.layers.{i}.post_attention_layernorm"
    gate: str = "model.layers.{i}.mlp.gate_proj"
    up: str = "model.layers.{i}.mlp.up_proj"
    down: str = "model.layers.{i}.mlp.down_proj"
    ignored: tuple[str, ...] = (".rotary_emb.inv_freq",)


ARCHITECTURES: dict[str, Architecture] = {row.name: row for row in (Architecture("LlamaForCausalLM"),)}
