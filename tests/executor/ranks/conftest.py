"""Folders of models that ranks share, of every family and form of attention."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers_models import FAMILIES, VOCABULARY, make


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    """A model of each family."""
    place = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    make(request.param).save_pretrained(place)
    return place


@pytest.fixture(scope="module", params=[(4, 4), (4, 2), (4, 1)], ids=["MHA", "GQA", "MQA"])
def attention(request, tmp_path_factory):
    """A model of each form of attention; its vocabulary is even for no number of ranks."""
    heads, kv_heads = request.param
    place = tmp_path_factory.mktemp("attention")
    torch.manual_seed(6)
    config = LlamaConfig(
        vocab_size=VOCABULARY + 1,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        initializer_range=0.15,
    )
    LlamaForCausalLM(config).save_pretrained(place)
    return place
