"""A model folder that is foreign, broken or dangerous is refused by name, before a byte of it is
believed.
"""

from __future__ import annotations

import json
import math
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from skipjoin.core.errors import InvalidInput, InvalidModel
from skipjoin.core.sampling import SamplingParams
from skipjoin.model.config import load_config
from skipjoin.model.text.generation import sampling_defaults
from skipjoin.model.text.tokenizer import ModelTokenizer
from skipjoin.model.weights.loaded import parse_device, parse_dtype
from skipjoin.model.weights.loading import load_model


@pytest.fixture
def folder(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "model")
    return tmp_path / "model"


def change(folder, name="config.json", **fields):
    raw = json.loads((folder / name).read_text())
    for field, value in fields.items():
        if value is ...:
            raw.pop(field, None)
        else:
            raw[field] = value
    (folder / name).write_text(json.dumps(raw))


def refusal(folder):
    with pytest.raises(InvalidModel) as caught:
        load_model(folder)
    said = str(caught.value)
    assert str(folder) not in said, "no path of the machine in a message"
    return said


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, "auto_map"),
        ({"architectures": ["MambaForCausalLM"]}, "LlamaForCausalLM"),
        ({"architectures": "LlamaForCausalLM"}, "LlamaForCausalLM"),
        ({"architectures": [], "model_type": "mamba"}, "LlamaForCausalLM"),
        ({"architectures": ..., "model_type": ...}, "LlamaForCausalLM"),
        ({"model_type": "mistral"}, "two different models"),
        ({"quantization_config": {"bits": 4}}, "quantis"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"num_hidden_layers": ...}, "num_hidden_layers"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"num_hidden_layers": 2.0}, "num_hidden_layers"),
        ({"num_attention_heads": 5000}, "num_attention_heads"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"head_dim": 15}, "head_dim"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps"),
        ({"vocab_size": 10**12}, "vocab_size"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"rope_scaling": {"rope_type": "proportional", "factor": 4.0}}, "default, linear"),
        ({"rope_parameters": {"rope_type": ["yarn"]}}, "yarn"),
        ({"rope_scaling": [4.0]}, "rope_scaling"),
        ({"rope_scaling": LLAMA3 | {"factor": 0.5}}, "factor"),
        ({"rope_scaling": LLAMA3 | {"high_freq_factor": 1.0}}, "high_freq_factor"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"partial_rotary_factor": 0.5, "rope_parameters": {"partial_rotary_factor": 0.5}}, "artial"),
        ({"bos_token_id": 512}, "bos_token_id"),
        ({"hidden_size": 128}, "shape"),
        ({"intermediate_size": 64}, "shape"),
        ({"attention_bias": True}, "bias"),
        ({"tie_word_embeddings": True, "num_hidden_layers": 1}, "does not explain"),
        ({"num_hidden_layers": 3}, "lack"),
    ],
)
def test_config_is_refused(folder, fields, words):
    change(folder, **fields)
    assert words in refusal(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": NaN', "\ufeff{}", "[" * 100_000])
def test_config_that_is_no_json_object(folder, text):
    (folder / "config.json").write_text(text, encoding="utf-8")
    assert "config.json" in refusal(folder)


def test_config_in_another_encoding(folder):
    (folder / "config.json").write_bytes(b'{"architectures": "\xff"}')
    assert "UTF-8" in refusal(folder)


def test_missing_folder_and_missing_files(folder, tmp_path):
    refusal(tmp_path / "nowhere")
    refusal(folder / "config.json")
    (folder / "model.safetensors").unlink()
    assert "no weights" in refusal(folder)
    (folder / "config.json").unlink()
    assert "config.json" in refusal(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickle_weights_are_never_opened(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    assert "safetensors" in refusal(folder)


@pytest.mark.parametrize("size", [0, 5, 8, 100, -1, -4000])
def test_truncated_weights(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    assert "model.safetensors" in refusal(folder)


def test_weights_with_bytes_behind_their_end(folder):
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"x")
    assert "truncated or damaged" in refusal(folder)


def rewrite_header(folder, change_header):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + length])
    change_header(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + length :])


NAME = "model.norm.weight"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda h: h[NAME].update(dtype="I8"),
        lambda h: h[NAME].update(dtype="F16"),
        lambda h: h[NAME].update(shape=[65]),
        lambda h: h[NAME].update(shape=[-64]),
        lambda h: h[NAME].update(shape="64"),
        lambda h: h[NAME].update(data_offsets=[0, 256]),
        lambda h: h[NAME].update(data_offsets=[0]),
        lambda h: h[NAME].update(data_offsets=[10**15, 10**15 + 256]),
        lambda h: h[NAME].pop("dtype"),
        lambda h: h.pop(NAME),
        lambda h: h.update({NAME: None}),
    ],
)
def test_a_spoiled_header(folder, spoil):
    rewrite_header(folder, spoil)
    refusal(folder)


def test_a_header_that_is_longer_than_the_file(folder):
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])
    refusal(folder)


def split(folder):
    """Two shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    (folder / "model.safetensors").unlink()
    weight_map = {name: file for file, part in halves.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return weight_map


def test_shards_are_the_same_model(folder, tiny_folder):
    split(folder)
    whole, parts = load_model(tiny_folder, dtype="float64"), load_model(folder, dtype="float64")
    assert torch.equal(whole.parts.embedding.table.rows, parts.parts.embedding.table.rows)
    x = torch.randn(2, 64, dtype=torch.float64)
    assert torch.equal(whole.parts.layers[1].attention.qkv(x), parts.parts.layers[1].attention.qkv(x))


def test_a_missing_shard(folder):
    split(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in refusal(folder)


@pytest.mark.parametrize("other", ["../secret.safetensors", "/etc/passwd", "model.bin", 7])
def test_an_index_that_points_elsewhere(folder, other):
    weight_map = split(folder)
    weight_map[NAME] = other
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert "index" in refusal(folder)


def test_an_index_that_disagrees_with_its_files(folder):
    weight_map = split(folder)
    weight_map["model.extra.weight"] = weight_map[NAME]
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert "model.extra.weight" in refusal(folder)


def test_a_tensor_that_config_does_not_explain(folder):
    """A bias that is left out would make wrong tokens without a word."""
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(64)
    save_file(tensors, folder / "model.safetensors")
    assert "q_proj.bias" in refusal(folder)


def spoil(folder, name, *numbers):
    """The first numbers of a tensor become these."""
    tensors = load_file(folder / "model.safetensors")
    tensors[name].view(-1)[: len(numbers)] = torch.tensor(numbers)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("numbers", [(math.nan,), (math.inf,), (-math.inf,), (math.inf, -math.inf)])
@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "model.layers.1.self_attn.k_proj.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "model.norm.weight",
    ],
)
def test_numbers_that_are_not_finite(folder, name, numbers):
    """They would load, and every job fail."""
    spoil(folder, name, *numbers)
    said = refusal(folder)
    assert name in said and "not finite" in said and "Download" in said


def test_large_numbers_are_refused_only_where_the_precision_has_none_for_them(folder):
    name = "model.layers.0.mlp.down_proj.weight"
    spoil(folder, name, 3e38, 3e38, 3e38)
    assert torch.tensor(3e38).mul(2).isinf(), "their sum is no number, each of them is"
    for dtype in ("float64", "float32", "bfloat16"):
        load_model(folder, dtype=dtype)
    with pytest.raises(InvalidModel, match=rf"{name} holds numbers beyond those of float16.*bfloat16 or float32"):
        load_model(folder, dtype="float16")


def test_old_rotary_buffers_are_ignored(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(8)
    save_file(tensors, folder / "model.safetensors")
    load_model(folder)


def ends(folder):
    config = load_config(folder)
    return config.eos_ids, " ".join(config.remarks)


def test_end_tokens_are_those_of_all_files(folder):
    assert ends(folder) == ((1,), "")
    change(folder, "generation_config.json", eos_token_id=[3, 1])
    assert ends(folder) == ((1, 3), ""), "one that names all of them is what Transformers goes by: nothing to say"
    change(folder, "generation_config.json", eos_token_id=[3, 4])
    found, said = ends(folder)
    assert found == (1, 3, 4) and "End tokens differ" in said and "1, 3, 4" in said
    change(folder, "generation_config.json", eos_token_id=...)
    change(folder, eos_token_id=2)
    found, said = ends(folder)
    assert found == (1, 2) and "the tokenizer says 1" in said, (
        "a chat model's end is often in the tokenizer's files only"
    )
    change(folder, "tokenizer_config.json", eos_token=...)
    assert ends(folder) == ((2,), "")
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"content": token_text(folder, 1)}}))
    assert ends(folder)[0] == (1, 2)


def token_text(folder, index):
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    return next(token["content"] for token in added if token["id"] == index)


@pytest.mark.parametrize("nothing", [..., None, -1, []])
def test_no_end_token_is_told(folder, nothing):
    change(folder, "tokenizer_config.json", eos_token=...)
    change(folder, "generation_config.json", eos_token_id=nothing)
    change(folder, eos_token_id=nothing)
    found, said = ends(folder)
    assert "No file of the model names an end token" in said
    assert found == ((2,) if nothing is ... else ()), (
        "Transformers has one for a Llama that says nothing, none for null"
    )


def of_llama_class(folder):
    """The folder with a tokenizer whose files name no end token and whose class does, and that
    token's id.
    """
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] != "</s>"]
    parts = ("pre_tokenizer", "normalizer")
    tokenizer |= dict.fromkeys(parts) | {"decoder": {"type": "ByteFallback"}}
    vocabulary = {"<unk>": 0, "<s>": 1, "x": 2, "</s>": 3, **{f"<0x{byte:02X}>": 4 + byte for byte in range(256)}}
    tokenizer["model"] = {"type": "BPE", "vocab": vocabulary, "merges": [], "byte_fallback": True, "unk_token": "<unk>"}
    tokenizer["added_tokens"] = []
    tokenizer["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    change(folder, "tokenizer_config.json", eos_token=..., bos_token=..., tokenizer_class="LlamaTokenizer")
    return 3


def test_the_end_token_of_the_tokenizers_class_is_told(folder):
    own = of_llama_class(folder)
    change(folder, "generation_config.json", eos_token_id=...)
    change(folder, eos_token_id=None)
    found, said = ends(folder)
    assert (
        found == (own,)
        and "No file of the model names an end token; 3 is taken, by the tokenizer's class LlamaTokenizer" in said
    )
    assert ModelTokenizer(folder).end_tokens == {own}, "one mechanism, and the door's answer is the engine's"
    change(folder, eos_token_id=...)
    found, said = ends(folder)
    assert found == (2, own) and "2 is taken, by Transformers' default for this family" in said
    change(folder, eos_token_id=5)
    found, said = ends(folder)
    assert found == (own, 5) and "End tokens differ" in said and "the tokenizer's class LlamaTokenizer says 3" in said
    assert ModelTokenizer(folder).end_tokens == {own, 5}
    change(folder, eos_token_id=own)
    assert ends(folder) == ((own,), "")
    change(folder, "tokenizer_config.json", eos_token=None)
    change(folder, eos_token_id=5)
    assert ends(folder) == ((5,), ""), "null in a file takes the class's away, as in Transformers"


def test_end_tokens_that_cannot_be(folder):
    change(folder, eos_token_id=[1, 512])
    with pytest.raises(InvalidModel, match="eos_token_id"):
        load_config(folder)
    # What the other file says does not make an end token that the model lacks a good one.
    (folder / "generation_config.json").write_text('{"eos_token_id": 1}')
    with pytest.raises(InvalidModel, match="eos_token_id"):
        load_config(folder)


def test_an_end_token_of_the_tokenizer_that_the_model_lacks(folder):
    change(folder, "tokenizer_config.json", eos_token="<far>", added_tokens_decoder={"512": {"content": "<far>"}})
    found, said = ends(folder)
    assert found == (1,) and "512" in said


def test_weights_that_do_not_fit_into_memory(folder):
    """Told from the headers alone: the file is a hole of half a terabyte, and nobody reads it."""
    vocab_size, hidden = 2**22, 2**15
    change(folder, vocab_size=vocab_size, hidden_size=hidden, num_attention_heads=64, head_dim=512)
    size = vocab_size * hidden * 4
    entry = {"dtype": "F32", "shape": [vocab_size, hidden], "data_offsets": [0, size]}
    header = json.dumps({"model.embed_tokens.weight": entry}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    said = refusal(folder)
    assert "512.0 GiB in float32" in said and "smaller dtype" in said and "GiB that are free" in said


def test_sampling_that_the_makers_recommend(folder):
    assert sampling_defaults(folder) == SamplingParams()
    change(folder, "generation_config.json", do_sample=True, temperature=0.6, top_p=0.9, top_k=-1, min_p=None)
    assert sampling_defaults(folder) == SamplingParams(temperature=0.6, top_p=0.9, top_k=0)
    change(folder, "generation_config.json", do_sample=False)
    assert sampling_defaults(folder).greedy
    (folder / "generation_config.json").unlink()
    assert sampling_defaults(folder) == SamplingParams()


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", float("nan")), ("top_k", 1.5), ("top_p", 2), ("repetition_penalty", "high")]
)
def test_sampling_that_cannot_be(folder, field, value):
    change(folder, "generation_config.json", **{field: value})
    with pytest.raises(InvalidModel, match=rf"generation_config.json: {field}|{field} in generation_config.json"):
        sampling_defaults(folder)


@pytest.mark.parametrize("name", ["int8", "", "float32 "])
def test_unknown_precision(name):
    with pytest.raises(InvalidInput, match="dtype"):
        parse_dtype(name)


@pytest.mark.parametrize("name", ["tpu", "", "cuda:99", "mps", "cpu:x"])
def test_unknown_device(name):
    with pytest.raises(InvalidInput, match="device"):
        parse_device(name)
