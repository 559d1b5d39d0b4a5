"""Which tensor of a file is the head, and what files call their tensors: as in Transformers, or
refused; never another model in silence.
"""

from __future__ import annotations

import json
import logging

import config_mutations as mutations
import pytest
import torch
from folder_answers import compare
from safetensors.torch import load_file, save_file

from skipjoin.core.errors import InvalidModel
from skipjoin.model.weights.loading import load_model

pytestmark = pytest.mark.usefixtures("quiet_transformers")
FAMILIES = ("llama", "gemma", "gemma3", "gpt2", "opt")
EMBEDDINGS = {"gpt2": "transformer.wte.weight", "opt": "model.decoder.embed_tokens.weight"}
HEAD = "lm_head.weight"


@pytest.fixture
def folder(request, tmp_path):
    mutations.make_folder(request.param, tmp_path)
    return tmp_path


def config(folder, **changes):
    raw = json.loads((folder / "config.json").read_text())
    mutations.write(folder, raw, changes)


def tensors(folder, change):
    """Rewrite the file: `change` takes the tensors by name and gives others."""
    path = folder / "model.safetensors"
    found = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(change(found), path, {"format": "pt"})


def embedding_of(folder):
    model_type = json.loads((folder / "config.json").read_text())["model_type"]
    return EMBEDDINGS.get(model_type, "model.embed_tokens.weight")


def other_head(found, embedding):
    return found | {HEAD: found[embedding].flip(0).contiguous()}


def warnings(folder, caplog):
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="skipjoin.model"):
        load_model(folder)
    return [record.message for record in caplog.records if "tie_word_embeddings" in record.message]


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_a_head_of_its_own_beside_the_word_that_there_is_none(folder, caplog):
    config(folder, tie_word_embeddings=True)
    tensors(folder, lambda found: other_head(found, embedding_of(folder)))
    assert compare(folder) == "same"
    (said,) = warnings(folder, caplog)
    assert "lm_head.weight" in said and "Set tie_word_embeddings to false" in said
    embedding = load_model(folder).parts.embedding.table.rows
    assert not torch.equal(load_model(folder).parts.head.of(torch.eye(32)).t(), embedding)


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_the_same_head_twice_is_one(folder, caplog):
    config(folder, tie_word_embeddings=True)
    tensors(folder, lambda found: found | {HEAD: found[embedding_of(folder)].clone()})
    assert compare(folder) == "same" and warnings(folder, caplog) == []


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_a_head_that_is_the_embedding(folder):
    """Some savers keep the one name, some the other."""
    name = embedding_of(folder)
    config(folder, tie_word_embeddings=True)
    tensors(folder, lambda found: {k: v for k, v in other_head(found, name).items() if k != name})
    assert compare(folder) == "same"


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_a_head_that_is_missing(folder):
    config(folder, tie_word_embeddings=False)
    tensors(folder, lambda found: {k: v for k, v in found.items() if k != HEAD})
    assert compare(folder) == "refused"
    with pytest.raises(InvalidModel, match=r"lack the tensor lm_head.*tie_word_embeddings"):
        load_model(folder)


@pytest.mark.parametrize("folder", [*mutations.SHAPES], indirect=True)
@pytest.mark.parametrize("head", [True, False])
def test_a_config_that_does_not_say_whether_they_are_one(folder, head):
    """Each family has its own default; the file may have a head or none."""
    config(folder, tie_word_embeddings=...)
    name = embedding_of(folder)
    tensors(folder, lambda found: other_head(found, name) if head else {k: v for k, v in found.items() if k != HEAD})
    said = compare(folder)
    assert said == "same" or (not head and said == "refused")


@pytest.mark.parametrize("folder", [*mutations.SHAPES], indirect=True)
@pytest.mark.parametrize("tied", [True, False])
def test_a_decoder_that_was_saved_without_its_head(folder, tied):
    """Names without their first part; beside them a head, or none."""
    config(folder, tie_word_embeddings=tied)
    name = embedding_of(folder)
    tensors(folder, lambda found: {k: v for k, v in found.items() if k != HEAD} if tied else other_head(found, name))
    assert compare(folder) == "same"
    prefix = "transformer." if name.startswith("transformer.") else "model."
    tensors(folder, lambda found: {k.removeprefix(prefix): v for k, v in found.items()})
    assert compare(folder) == "same"


def test_names_that_nobody_loads(tmp_path):
    """Transformers would go on with random numbers."""
    mutations.make_folder("llama", tmp_path)
    for prefix in ("module.", "base_model.model.", "_orig_mod."):
        tensors(tmp_path, lambda found, prefix=prefix: {prefix + name: tensor for name, tensor in found.items()})
        assert compare(tmp_path) == "refused"


EXTRA = [
    "model.layers.0.self_attn.q_proj.lora_A.weight",
    "model.layers.0.self_attn.q_proj.bias",
    "model.layers.7.input_layernorm.weight",
    "vision_tower.patch_embedding.weight",
    "score.weight",
    "lm_head.bias",
    "model.layers.0.self_attn.k_proj.weight_scale",
]


@pytest.mark.parametrize("name", EXTRA)
def test_tensors_that_config_does_not_explain(tmp_path, name):
    mutations.make_folder("llama", tmp_path)
    tensors(tmp_path, lambda found: found | {name: torch.ones(32)})
    with pytest.raises(InvalidModel, match=f"does not explain the tensor {name}"):
        load_model(tmp_path)


def test_buffers_of_any_type_that_nobody_needs(tmp_path):
    """Older files hold masks as bytes or truths, and frequencies."""
    mutations.make_folder("gpt2", tmp_path)
    before = load_model(tmp_path).parts.embedding.table.rows
    mask = torch.ones(1, 1, 4, 4)
    extra = {"h.0.attn.bias": mask.bool(), "transformer.h.1.attn.bias": mask.to(torch.uint8)}
    tensors(tmp_path, lambda found: found | extra | {"transformer.h.0.attn.masked_bias": torch.tensor(-1e4)})
    assert compare(tmp_path) == "same" and torch.equal(load_model(tmp_path).parts.embedding.table.rows, before)


def test_an_adapter_in_the_folder(tmp_path):
    mutations.make_folder("llama", tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InvalidModel, match="adapter"):
        load_model(tmp_path)


def test_one_file_beside_an_index(tmp_path, caplog):
    """Transformers reads the one file."""
    mutations.make_folder("llama", tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    shard = "model-00001-of-00001.safetensors"
    save_file({name: torch.zeros_like(tensor) for name, tensor in whole.items()}, tmp_path / shard, {"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(whole, shard)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with caplog.at_level(logging.WARNING, logger="skipjoin.model"):
        assert compare(tmp_path) == "same"
    assert any("model.safetensors.index.json: the first is read" in record.message for record in caplog.records)
