"""`skipjoin model init`: same seed, same bytes; a folder in use is left alone; Transformers loads
it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from plan_driver import Job, PlanDriver
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM
from transformers_models import exact

from skipjoin.cli import main
from skipjoin.core.errors import InvalidInput
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model.config import load_config
from skipjoin.model.families import FAMILIES
from skipjoin.model.presets import PRESETS, init_model, random_model
from skipjoin.model.text.preset_tokenizer import _training_text, train_tokenizer
from skipjoin.model.text.tokenizer import ModelTokenizer
from skipjoin.model.weights.loading import load_model


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_same_seed_makes_the_same_bytes(tmp_path, tiny_folder):
    init_model(tmp_path / "again", "tiny", seed=7)
    assert digests(tmp_path / "again") == digests(tiny_folder)
    init_model(tmp_path / "other", "tiny", seed=8)
    other, first = digests(tmp_path / "other"), digests(tiny_folder)
    assert {name for name in other if other[name] != first[name]} == {"model.safetensors"}


def test_the_training_text_does_not_depend_on_what_else_the_process_did(monkeypatch):
    before = list(_training_text())
    monkeypatch.setattr(logging, "imported_later", ModuleType("imported_later", "Its own words."), raising=False)
    monkeypatch.setattr(platform, "_uname_cache", SimpleNamespace())
    assert list(_training_text()) == before


def test_transformers_finds_nothing_missing(tiny_folder):
    _, report = AutoModelForCausalLM.from_pretrained(tiny_folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]


def test_small_is_as_stated(tmp_path):
    shape = init_model(tmp_path, "small")
    weights = load_file(tmp_path / "model.safetensors")
    assert 31e6 < sum(tensor.numel() for tensor in weights.values()) < 33e6
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_vocab_size() == shape.vocab_size == 8192


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("tiny-")])
def test_a_preset_of_each_family_is_transformers_own(name, tmp_path):
    """Nothing is missing, and greedy tokens, which wander, are the same: each field of config.json
    means to both what it says.
    """
    init_model(tmp_path, name, seed=2)
    assert load_config(tmp_path).remarks == (), "a folder of ours says nothing in vain"
    theirs, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    job = Job(1, list(range(5, 95)), 30)  # further than a window
    executor = TorchExecutor(load_model(tmp_path, "cpu", "float64"), PoolShape(20, 0, page_tokens=16))
    PlanDriver(executor, chunk=40).run([job])
    executor.close()
    with torch.inference_mode():
        logits = exact(theirs.eval())(input_ids=torch.tensor([job.prompt + job.tokens[:-1]])).logits[0]
    assert logits[len(job.prompt) - 1 :].argmax(-1).tolist() == job.tokens
    assert len(set(job.tokens)) > 6, "a dull model"


@pytest.fixture
def little_llama(monkeypatch):
    """`llama-3-8b`, narrow and short: the same precision, the same vocabulary beyond the
    tokenizer's, the same rotary base.
    """
    name = "little-llama"
    wide = PRESETS["llama-3-8b"]
    little = replace(
        wide, layers=3, hidden=64, heads=4, kv_heads=1, intermediate=224, vocab_size=1024, tokenizer_size=512
    )
    monkeypatch.setitem(PRESETS, name, little)
    return name


def test_the_shape_of_llama_3_8b():
    """8.03 billion numbers, https://huggingface.co/meta-llama/Meta-Llama-3-8B: config.json and the
    size of its index.
    """
    shape = PRESETS["llama-3-8b"]
    config = shape.config
    assert shape.weight_bytes == 16_060_522_496
    assert (config.layers, config.hidden, config.heads, config.kv_heads, config.head_dim) == (32, 4096, 32, 8, 128)
    assert (config.intermediate, config.vocab_size, config.max_context_tokens) == (14336, 128256, 8192)
    assert not config.tied_embeddings and config.ropes[0].theta == 500000.0


def test_large_weights_become_several_files(little_llama, tmp_path):
    one, many, written = tmp_path / "one", tmp_path / "many", []
    init_model(one, little_llama, seed=5)
    init_model(many, little_llama, seed=5, shard_bytes=100_000, written=written.append)
    index = json.loads((many / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in many.glob("*.safetensors"))
    assert files == sorted(set(index["weight_map"].values())) == written and len(files) > 3
    assert index["metadata"]["total_size"] == PRESETS[little_llama].weight_bytes
    tensors = {name: tensor for file in files for name, tensor in load_file(many / file).items()}
    whole = load_file(one / "model.safetensors")
    assert set(tensors) == set(whole) and all(torch.equal(tensors[name], whole[name]) for name in whole)
    assert {tensor.dtype for tensor in whole.values()} == {torch.bfloat16}
    assert sum(tensor.nbytes for tensor in whole.values()) == PRESETS[little_llama].weight_bytes
    # Both readers: ours in the precision that it is told, Transformers'.
    theirs, report = AutoModelForCausalLM.from_pretrained(many, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert theirs.dtype is torch.bfloat16 and theirs.config.rope_parameters["rope_theta"] == 500000.0
    job = Job(1, list(range(5, 45)), 20)
    executor = TorchExecutor(load_model(many, "cpu", "float64"), PoolShape(20, 0, page_tokens=16))
    PlanDriver(executor, chunk=40).run([job])
    executor.close()
    with torch.inference_mode():
        logits = exact(theirs.eval())(input_ids=torch.tensor([job.prompt + job.tokens[:-1]])).logits[0]
    assert logits[len(job.prompt) - 1 :].argmax(-1).tolist() == job.tokens
    tokenizer = ModelTokenizer(many)
    assert tokenizer.vocab_size == 1024 and tokenizer.token_bytes[511] and not tokenizer.token_bytes[1023]


def test_a_disk_without_room_is_told_before_anything_is_written(monkeypatch, tmp_path, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(20 << 30, 12 << 30, 8 << 30))
    assert main(["model", "init", str(tmp_path / "m"), "--preset", "llama-3-8b"]) == 2
    heard = capsys.readouterr()
    assert "15.0 GiB of weights in bfloat16" in heard.out
    assert "The weights of llama-3-8b take 15.0 GiB of disk; make room" in heard.err and "8.0 GiB" in heard.err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("tiny")])
def test_a_model_that_was_never_a_folder_runs(name):
    """Of every family: as large as its folder's weights are, and greedy tokens wander."""
    model = random_model(name, "cpu", "float32", seed=2)
    job = Job(1, list(range(5, 45)), 30)
    executor = TorchExecutor(model, PoolShape(20, 0, page_tokens=16))
    PlanDriver(executor, chunk=40).run([job])
    executor.close()
    assert len(set(job.tokens)) > 6, "a dull model"


def test_a_model_in_memory_follows_from_its_seed_and_has_its_precision(little_llama):
    first, again, other = (random_model(little_llama, seed=seed) for seed in (1, 1, 2))
    assert first.dtype is first.parts.embedding.table.rows.dtype is torch.bfloat16
    assert torch.equal(first.parts.embedding.table.rows, again.parts.embedding.table.rows)
    assert not torch.equal(first.parts.embedding.table.rows, other.parts.embedding.table.rows)
    assert random_model(little_llama, "cpu", "float16").parts.embedding.table.rows.dtype is torch.float16
    drawn = first.parts.embedding.table.rows.float()
    assert abs(drawn.std() - 1) < 0.02 and abs(drawn.mean()) < 0.02


def test_a_model_in_memory_takes_little_more_than_its_weights():
    """64 layers of 6.5 MB each: never a second copy of the whole, nor one in float32."""
    source = """
from dataclasses import replace
from pathlib import Path
from skipjoin.model.presets import PRESETS, random_model

def most():  # not ru_maxrss: a child begins with its parent's
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

random_model("tiny", dtype="bfloat16")
wide = replace(PRESETS["llama-3-8b"], layers=64, hidden=512, heads=4, kv_heads=1, intermediate=1792, vocab_size=512)
PRESETS["many-layers"] = wide
before = most()
random_model("many-layers", "cpu")
print(wide.weight_bytes, most() - before)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    needed, taken = map(int, done.stdout.split())
    assert needed > 400e6 and needed * 0.9 < taken < needed * 1.25


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_looking_at_the_numbers_makes_no_wider_copy_of_them(dtype):
    """For the embedding of Llama 3 8B that would be 2 GiB, and the look takes some ten times as
    long.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as told:
        model = random_model("tiny", "cpu", dtype)
    largest = max(event.self_cpu_memory_usage for event in told.events())
    assert largest == model.parts.embedding.table.rows.nbytes, "the largest tensor, once"


def test_there_is_a_preset_of_every_family():
    made = {preset.architecture for preset in PRESETS.values()}
    assert made == {row.name for row in FAMILIES} - {"Gemma3ForConditionalGeneration"}
    table = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    assert all(f"`{name}`" in table for name in PRESETS if name != "small")


def test_a_text_too_small_for_the_vocabulary_is_filled_up():
    tokenizer = train_tokenizer(60_000)
    assert tokenizer.get_vocab_size() == 60_000
    assert tokenizer.token_to_id("<|reserved_0|>") is not None
    assert max(tokenizer.get_vocab().values()) == 59_999


def test_the_command(tmp_path, capsys):
    assert main(["model", "init", str(tmp_path / "m"), "--preset", "tiny", "--seed", "3"]) == 0
    assert "seed 3" in capsys.readouterr().out
    assert (tmp_path / "m" / "model.safetensors").is_file()
    assert main(["model", "init", str(tmp_path / "m")]) == 2
    assert "already holds" in capsys.readouterr().err
    assert main(["model", "init", str(tmp_path / "n"), "--preset", "huge"]) == 2
    assert "tiny" in capsys.readouterr().err
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seed_bounds(tmp_path, seed):
    with pytest.raises(InvalidInput, match="seed"):
        init_model(tmp_path / "m", "tiny", seed)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInput):
        init_model(tmp_path / "file", "tiny")
    with pytest.raises(InvalidInput, match="cannot be written"):
        init_model(tmp_path / "file" / "below", "tiny")
