"""What the families' files look like beyond the plain case: other names for the same tensors, parts
that are not served, fields of older releases.
"""

from __future__ import annotations

import json
import random

import pytest
import torch
from folder_answers import compare
from plan_driver import Job, PlanDriver
from safetensors.torch import load_file, save_file
from transformers import Gemma3Config, Gemma3ForConditionalGeneration
from transformers_models import FAMILIES, exact, make

from skipjoin.core.errors import InvalidModel
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model.config import load_config
from skipjoin.model.weights.loading import load_model


@pytest.fixture
def folder(tmp_path, request):
    make(request.param).save_pretrained(tmp_path)
    return tmp_path


def change(folder, drop=(), **fields):
    path = folder / "config.json"
    raw = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in raw.items() if name not in drop}))


def refusal(folder):
    with pytest.raises(InvalidModel) as caught:
        load_model(folder)
    return str(caught.value)


def greedy(folder, count=24):
    source = random.Random(6)
    jobs = [Job(i, [source.randrange(3, 300) for _ in range(length)], count) for i, length in enumerate((7, 40))]
    executor = TorchExecutor(load_model(folder, "cpu", "float64"), PoolShape(40, 0))
    PlanDriver(executor, chunk=16).run(jobs)
    executor.close()
    return jobs


def rename(folder, new_name):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({new_name(name): tensor for name, tensor in tensors.items()}, path)


@pytest.mark.parametrize(
    ("folder", "prefix"),
    [("gpt2", "transformer."), ("opt", "model."), ("opt norms after", "model.")],
    indirect=["folder"],
)
def test_files_of_the_model_without_its_head(folder, prefix):
    """GPT-2's and OPT's published files name tensors without the first part of the name."""
    before = [job.tokens for job in greedy(folder)]
    rename(folder, lambda name: name.removeprefix(prefix))
    assert [job.tokens for job in greedy(folder)] == before


@pytest.mark.parametrize("folder", ["gpt2"], indirect=True)
def test_masks_that_gpt2_files_carry_are_ignored(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 4, 4)
    tensors["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, path)
    load_model(folder)
    tensors["transformer.h.0.mlp.other.weight"] = torch.ones(2)
    save_file(tensors, path)
    assert "h.0.mlp.other.weight" in refusal(folder)


@pytest.mark.parametrize("folder", ["gpt2"], indirect=True)
def test_two_names_for_one_tensor(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["wpe.weight"] = tensors["transformer.wpe.weight"].clone()
    save_file(tensors, path)
    assert "wpe.weight" in refusal(folder)


@pytest.fixture(scope="module")
def with_images(tmp_path_factory):
    """(folder, reference) of Gemma 3 with its vision tower: the text part is served."""
    torch.manual_seed(9)
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    text = {name: value for name, value in FAMILIES["gemma3"].fields.items() if not name.endswith("_token_id")}
    model = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=vision, eos_token_id=[1, 2])
    ).eval()
    folder = tmp_path_factory.mktemp("with-images")
    model.save_pretrained(folder)
    return folder, exact(model)


@pytest.mark.parametrize("newer", [False, True])
@torch.inference_mode()
def test_the_text_of_gemma3_with_images(with_images, tmp_path, newer):
    folder, reference = with_images
    names = set(load_file(folder / "model.safetensors"))
    assert any("vision_tower" in name for name in names)
    if newer:  # both ways of naming are in published files
        for file in folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        folder = tmp_path
        rename(
            folder,
            lambda name: name.replace("language_model.model.", "model.language_model.").replace(
                "vision_tower.", "model.vision_tower."
            ),
        )
        assert set(load_file(folder / "model.safetensors")) != names
    assert load_config(folder).eos_ids == (1, 2)
    for job in greedy(folder):
        known = torch.tensor([job.prompt + job.tokens[:-1]])
        best = reference(input_ids=known).logits[0, len(job.prompt) - 1 :].argmax(-1)
        assert best.tolist() == job.tokens


@pytest.mark.usefixtures("quiet_transformers")
@pytest.mark.parametrize("said", [True, False, None])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_the_whole_model_says_whether_its_head_is_the_embedding(with_images, tmp_path, said, inside, head):
    """Its text part may say otherwise, and is not asked; the file may hold another head."""
    folder, _ = with_images
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    raw = json.loads((tmp_path / "config.json").read_text())
    raw["text_config"]["tie_word_embeddings"] = inside
    raw["tie_word_embeddings"] = said
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))
    (tmp_path / "generation_config.json").unlink(missing_ok=True)
    tensors = load_file(tmp_path / "model.safetensors")
    (embedding,) = (name for name in tensors if name.endswith("embed_tokens.weight"))
    if head:
        name = "lm_head.weight" if embedding.startswith("model.") else "language_model.lm_head.weight"
        tensors[name] = tensors[embedding].flip(0).contiguous()
        save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    expected = ("same",) if head or said is not False else ("refused",)
    assert compare(tmp_path) in expected


def windows(folder):
    return [layer.window for layer in load_config(folder).attention]


@pytest.mark.parametrize("folder", ["gemma3"], indirect=True)
def test_gemma3_as_it_was_first_written(folder):
    """rope_theta and rope_scaling for the full layers, rope_local_base_freq for the others, a
    pattern instead of a list.
    """
    new = load_config(folder)
    assert windows(folder) == [24] * 5 + [None, 24] and [layer.rope for layer in new.attention] == [1] * 5 + [0, 1]
    change(
        folder,
        drop=("rope_parameters", "layer_types"),
        rope_theta=1e6,
        rope_local_base_freq=1e4,
        rope_scaling={"rope_type": "linear", "factor": 8.0},
        sliding_window_pattern=6,
    )
    assert load_config(folder) == new


@pytest.mark.parametrize("folder", ["qwen2 windowed"], indirect=True)
def test_which_layers_have_a_window(folder):
    assert windows(folder) == [None, 20, 20]
    change(folder, layer_types=["sliding_attention", "full_attention", "full_attention"])
    assert windows(folder) == [20, None, None]
    change(folder, drop=("layer_types",), max_window_layers=2)
    assert windows(folder) == [None, None, 20]
    change(folder, use_sliding_window=False)
    assert windows(folder) == [None, None, None]
    change(folder, use_sliding_window=True, layer_types=["chunked_attention"] * 3)
    assert "layer_types" in refusal(folder)


@pytest.mark.parametrize("folder", ["mistral"], indirect=True)
def test_mistral_that_leaves_its_window_out_has_one(folder):
    change(folder, sliding_window=None)
    assert windows(folder) == [None] * 3
    change(folder, drop=("sliding_window",))
    assert windows(folder) == [4096] * 3


@pytest.mark.parametrize("folder", ["llama yarn"], indirect=True)
def test_yarn_makes_the_context_longer(folder):
    """Qwen's recipe leaves max_position_embeddings at what the model was trained with."""
    change(folder, max_position_embeddings=64)
    assert load_config(folder).max_context_tokens == 256


@pytest.mark.parametrize("folder", ["phi3 longrope"], indirect=True)
def test_longrope_ends_where_its_frequencies_would_change(folder):
    assert load_config(folder).max_context_tokens == 160


@pytest.mark.parametrize("folder", ["gpt2", "opt"], indirect=True)
def test_learned_positions_bound_the_context(folder, request):
    assert load_config(folder).max_context_tokens == 192
    field = "n_positions" if load_config(folder).architecture.name.startswith("GPT2") else "max_position_embeddings"
    change(folder, **{field: 193})
    said = refusal(folder)
    assert "shape" in said and ("wpe" in said or "embed_positions" in said)


REFUSED = [
    ("gemma2", {"hidden_activation": "relu"}, ["hidden_activation", "gelu_pytorch_tanh"]),
    ("gemma2", {"use_bidirectional_attention": True}, ["use_bidirectional_attention"]),
    ("gemma2", {"attn_logit_softcapping": 0}, ["attn_logit_softcapping"]),
    ("gemma2", {"sliding_window": None}, ["sliding_window"]),
    ("gemma3", {"attn_logit_softcapping": 50.0}, ["attn_logit_softcapping", "None"]),
    ("gemma3", {"rope_parameters": {"full_attention": 3, "sliding_attention": {}}}, ["full_attention"]),
    ("gpt2", {"activation_function": "quick_gelu"}, ["activation_function", "gelu_new"]),
    ("gpt2", {"add_cross_attention": True}, ["add_cross_attention"]),
    ("gpt2", {"n_head": 5}, ["c_attn"]),
    ("opt", {"_remove_final_layer_norm": True}, ["_remove_final_layer_norm"]),
    ("opt", {"word_embed_proj_dim": 32}, ["embed_tokens", "[320, 32]"]),
    ("phi3 longrope", {"partial_rotary_factor": 0.95, "rope_parameters": None}, ["partial_rotary_factor"]),
    ("phi3 longrope", {"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0]}}, ["short_factor", "6"]),
    ("llama", {"partial_rotary_factor": 0.5}, ["partial_rotary_factor"]),
    ("llama", {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, ["rope_parameters"]),
    ("llama yarn", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 0.5}}, ["beta_fast"]),
    ("mistral", {"sliding_window": 0}, ["sliding_window"]),
]


@pytest.mark.parametrize(("folder", "fields", "words"), REFUSED, indirect=["folder"])
def test_what_a_family_does_not_have_is_refused(folder, fields, words):
    change(folder, **fields)
    said = refusal(folder)
    assert all(word in said for word in words), said
