"""What Transformers and we compute for one and the same model folder, whatever stands in it."""

from __future__ import annotations

import random

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForCausalLM, GenerationConfig

from skipjoin.core.errors import InvalidModel
from skipjoin.kernels.dispatch import kernels_for
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.ragged import RaggedBatch
from skipjoin.model.config import load_config
from skipjoin.model.decoder import Decoder, ForwardBatch
from skipjoin.model.weights.loading import load_model

NEW_TOKENS = 3
_PROMPT = [random.Random(8).randrange(3, 61) for _ in range(24)]
REFUSALS = (
    *(
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        OSError,
        IndexError,
        ArithmeticError,
        AssertionError,
    ),
    *(ImportError, StrictDataclassError),
)
"""What Transformers raises for a config that it does not take."""


@torch.inference_mode()
def answer_of_transformers(folder, prompt, new_tokens):
    """(logits of the prompt and of `new_tokens` greedy ones by the cache, those tokens); None where
    it does not load the folder as it is.
    """
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        if report["missing_keys"] or report["mismatched_keys"]:
            return None  # it would go on with random numbers
        model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
        ids = torch.tensor([prompt])
        known = model(input_ids=ids).logits[0]
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new_tokens,
            output_logits=True,
            return_dict_in_generate=True,
        )
    except REFUSALS:
        return None
    return torch.cat([known, *made.logits[1:]]), made.sequences[0, len(prompt) :].tolist()


@torch.inference_mode()
def our_logits(folder, tokens):
    """A chunk, then the rest over its pages."""
    model = load_model(folder, "cpu", "float32")
    config, page_tokens = model.config, 8
    layout = KvLayout(config.layers, config.kv_heads, page_tokens, config.head_dim)
    pages = np.arange(-(-len(tokens) // page_tokens))
    kv = PagedKv(torch.zeros(layout.pool_shape(len(pages))), layout)
    kernels = kernels_for(model.device, model.dtype)
    decoder = Decoder(model, kv, kernels, recorded=False)
    logits, start = [], 0
    for end in (len(tokens) // 2, len(tokens)):
        positions = np.arange(start, end)
        ragged = RaggedBatch(
            torch.from_numpy(pages[None, : -(-end // page_tokens)]), np.array([0, end - start]), np.array([end])
        )
        batch = ForwardBatch(
            torch.tensor(tokens[start:end]),
            torch.from_numpy(positions),
            end,
            kernels.prepare(kv, ragged, torch.from_numpy(positions)),
            None,
        )
        logits.append(decoder.forward(batch))
        start = end
    return torch.cat(logits)


def compare(folder):
    """ "same", "refused", "no answer" of Transformers, or what is wrong with our reading of the
    folder.
    """
    try:
        limit = load_config(folder).max_context_tokens
        prompt = _PROMPT[: limit - NEW_TOKENS]
        load_model(folder)
    except InvalidModel as refused:
        return "refused" if refused.field else f"refused without a field: {refused.message}"
    theirs = answer_of_transformers(folder, prompt, NEW_TOKENS)
    if theirs is None:
        return "no answer"
    logits, made = theirs
    ours = our_logits(folder, prompt + made[:-1])
    furthest = float((ours - logits).abs().max() / logits.abs().max())
    return "same" if furthest <= 1e-3 else f"logits differ by {furthest:.2g}"
