"""`skipjoin model init`: same seed, same bytes; a folder in use is left alone; Transformers loads it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from plan_driver import Job, PlanDriver
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers_models import exact

from skipjoin.cli import main
from skipjoin.core.errors import InvalidInput
from skipjoin.executor.families import FAMILIES
from skipjoin.executor.loading import load_model
from skipjoin.executor.presets import PRESETS, init_model, train_tokenizer
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kvstore.device.pool import PoolShape


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_same_seed_makes_the_same_bytes(tmp_path, tiny_folder):
    init_model(tmp_path / "again", "tiny", seed=7)
    assert digests(tmp_path / "again") == digests(tiny_folder)
    init_model(tmp_path / "other", "tiny", seed=8)
    other, first = digests(tmp_path / "other"), digests(tiny_folder)
    assert {name for name in other if other[name] != first[name]} == {"model.safetensors"}


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
    """Nothing is missing, and greedy tokens, which wander, are the same: each field of config.json means to both what it says."""
    init_model(tmp_path, name, seed=2)
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
