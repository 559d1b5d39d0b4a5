"""Which of the many places of config.json says how rotary embeddings turn: the same one as in
Transformers, for random mixtures of them.
"""

from __future__ import annotations

import importlib
import random

import pytest
import torch
from config_mutations import config_class
from folder_answers import REFUSALS
from transformers_models import CONTEXT, SHAPES

from skipjoin.core.errors import InvalidModel
from skipjoin.model.config import config_of
from skipjoin.model.parts.frequencies import inverse_frequencies

_NUMBERS = {
    "factor": [2.0, 4, None],
    "rope_theta": [50.0, 700],
    "original_max_position_embeddings": [16, 40],
    "low_freq_factor": [1.0],
    "high_freq_factor": [4.0],
    "short_factor": [[1.0, 1.5, 2.0, 3.0], [1.5, 2.0, 2.5]],
    "long_factor": [[2.0, 3.0, 5.0, 9.0]],
    "attention_factor": [1.3, None],
    "beta_fast": [8, 20.0],
    "beta_slow": [2],
    "mscale": [0.7],
    "mscale_all_dim": [0.4],
    "truncate": [False, True, None],
    "partial_rotary_factor": [0.75, 1.0],
    "finetuned": [True],
}
_KINDS = ("default", "linear", "dynamic", "yarn", "longrope", "llama3", "su")
_NEEDED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor"),
    "su": ("short_factor", "long_factor"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
}


def some_rope(source):
    """A kind with what it needs, and one or two things more."""
    kind = source.choice(_KINDS)
    names = {*_NEEDED.get(kind, ()), *source.sample(sorted(_NUMBERS), source.randrange(3))}
    said = {name: source.choice(_NUMBERS[name]) for name in sorted(names)}
    spelled = source.choice(["rope_type", "rope_type", "type", None])
    return said | ({spelled: kind} if spelled else {})


def some_config(source, model_type):
    shape = SHAPES[model_type][1]
    raw = shape | {"model_type": model_type if model_type != "gemma3" else "gemma3_text", "head_dim": 8}
    raw["max_position_embeddings"] = source.choice([CONTEXT, 32])
    nested = model_type == "gemma3" and source.random() < 0.8
    objects = {
        "rope_scaling": source.choice([None, {}, some_rope(source), some_rope(source)]),
        "rope_parameters": {"full_attention": some_rope(source), "sliding_attention": some_rope(source)}
        if nested
        else source.choice([None, {}, some_rope(source)]),
        "rope_theta": source.choice([321.0, 5000]),
        "rope_local_base_freq": 77.0,
        "original_max_position_embeddings": source.choice([16, 48]),
        "partial_rotary_factor": 0.75,
    }
    return raw | {name: value for name, value in objects.items() if source.random() < 0.45}


def theirs(model_type, raw):
    """(inverse frequencies, magnitude) of Transformers for full and windowed layers; None where it
    refuses.
    """
    module = importlib.import_module(f"transformers.models.{model_type}.modeling_{model_type}")
    stem = SHAPES[model_type][0].removesuffix("Text")
    copied = {name: dict(value) if isinstance(value, dict) else value for name, value in raw.items()}
    for name, value in copied.items():
        if isinstance(value, dict):
            copied[name] = {key: dict(v) if isinstance(v, dict) else v for key, v in value.items()}
    try:
        rotary = getattr(module, f"{stem}RotaryEmbedding")(config_class(model_type)(**copied))
    except REFUSALS:
        return None
    if model_type != "gemma3":
        return [(rotary.inv_freq, rotary.attention_scaling)]
    return [
        (getattr(rotary, f"{kind}_inv_freq"), getattr(rotary, f"{kind}_attention_scaling"))
        for kind in ("full_attention", "sliding_attention")
    ]


@pytest.mark.usefixtures("quiet_transformers")
@pytest.mark.parametrize("model_type", ["llama", "qwen3", "phi3", "gemma3"])
def test_random_mixtures(model_type):
    source = random.Random(17)
    compared = 0
    for _ in range(500):
        raw = some_config(source, model_type)
        try:
            ropes = config_of(raw, {}).ropes
        except InvalidModel:
            continue
        wanted = theirs(model_type, raw)
        if wanted is None:
            continue
        compared += 1
        for rope, (frequencies, magnitude) in zip(ropes, wanted, strict=True):
            ours = inverse_frequencies(rope, torch.device("cpu"))
            assert ours.shape == frequencies.shape and torch.allclose(ours, frequencies, rtol=1e-5), raw
            assert rope.magnitude == pytest.approx(magnitude), raw
    assert compared > 80


def test_what_no_type_knows_is_told():
    raw = SHAPES["llama"][1] | {
        "model_type": "llama",
        "rope_scaling": {"type": "linear", "factor": 2, "finetuned": True},
    }
    (said,) = (remark for remark in config_of(raw, {}).remarks if "without effect" in remark)
    assert "rope_scaling.finetuned" in said
