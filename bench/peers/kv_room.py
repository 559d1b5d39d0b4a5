"""How much memory KV takes in float32, so that peers and we get equal room."""

from __future__ import annotations

from ...model.config import ModelConfig

FLOAT32_BYTES = 4
PAGE_TOKENS = 16


def token_bytes(config: ModelConfig) -> int:
    """Of one token in all layers."""
    return 2 * config.layers * config.kv_heads * config.head_dim * FLOAT32_BYTES


def kv_tokens(config: ModelConfig, gib: int) -> int:
    """Tokens that so many GiB hold; whole pages."""
    return (gib << 30) // token_bytes(config) // PAGE_TOKENS * PAGE_TOKENS


def kv_gib(config: ModelConfig, tokens: int) -> int:
    """GiB that hold so many tokens, one at least."""
    return max(1, -(-tokens * token_bytes(config) >> 30))
