"""The row that the docs show is one that works: registered by hand, and brought by an installed
package.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plan_driver import Job, PlanDriver
from transformers import StableLmConfig, StableLmForCausalLM

import skipjoin
from skipjoin.core.errors import InvalidInput, InvalidModel
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model import registry
from skipjoin.model.architectures import Architecture, Layer, QueryKeyNorm, TensorNames
from skipjoin.model.weights.loading import load_model

CHECKOUT = Path(skipjoin.__file__).parent


@pytest.fixture(scope="module")
def example():
    """The one Python block of docs/models.md."""
    blocks = re.findall(
        r"```python\n(.*?)```", (CHECKOUT / "docs" / "models.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert len(blocks) == 1
    return blocks[0]


@pytest.fixture(scope="module")
def stablelm(tmp_path_factory):
    torch.manual_seed(2)
    config = StableLmConfig(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.15,
        use_qkv_bias=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = StableLmForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("stablelm")
    model.save_pretrained(folder)
    return folder, model.to(torch.float64)


@pytest.fixture(autouse=True)
def forgotten():
    before = dict(registry._registered)
    yield
    registry._registered.clear()
    registry._registered.update(before)


@torch.inference_mode()
def test_the_row_of_the_docs(example, stablelm):
    folder, reference = stablelm
    with pytest.raises(InvalidModel, match=r"LlamaForCausalLM.*docs/models.md"):
        load_model(folder)
    row = {}
    exec(example, row)
    registry.register(row["STABLELM"])
    registry.register(row["STABLELM"])  # the same one again is nothing new
    assert "StableLmForCausalLM" in registry.known_architectures()
    jobs = [Job(i, list(range(3 + i, 40 + 7 * i)), 64) for i in range(3)]
    executor = TorchExecutor(load_model(folder, "cpu", "float64"), PoolShape(40, 0))
    PlanDriver(executor, chunk=16).run(jobs)
    executor.close()
    for job in jobs:
        known = torch.tensor([job.prompt + job.tokens[:-1]])
        assert reference(input_ids=known).logits[0, len(job.prompt) - 1 :].argmax(-1).tolist() == job.tokens


def installed(tmp_path, source, reference="my_rows:STABLELM"):
    """A package beside skipjoin, as pip leaves it."""
    (tmp_path / "my_rows.py").write_text(source)
    info = tmp_path / "my_rows-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-rows\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINTS}]\nstablelm = {reference}\n")
    return tmp_path


def load_beside(place, folder):
    """(exit code, last line) of a process in which the package is installed."""
    code = (
        "import sys\nfrom skipjoin.core.errors import InvalidModel\nfrom skipjoin.model.config import load_config\n"
        "from pathlib import Path\n"
        "try: print(load_config(Path(sys.argv[1])).architecture.name)\nexcept InvalidModel as error: "
        "sys.exit(str(error))"
    )
    paths = os.pathsep.join([str(place), *(path for path in sys.path if path)])
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()[-1]


def test_a_row_that_a_package_brings(example, stablelm, tmp_path):
    assert load_beside(installed(tmp_path, example), stablelm[0]) == (0, "StableLmForCausalLM")


@pytest.mark.parametrize(
    ("source", "reference", "words"),
    [
        ("raise RuntimeError('broken')", "my_rows:STABLELM", "RuntimeError"),
        ("STABLELM = 3", "my_rows:STABLELM", "Architecture"),
        ("", "my_rows:NOTHING", "AttributeError"),
    ],
)
def test_a_package_whose_row_cannot_be_used(stablelm, tmp_path, source, reference, words):
    code, said = load_beside(installed(tmp_path, source, reference), stablelm[0])
    assert code == 1 and "entry point stablelm" in said and words in said


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (Architecture("LlamaForCausalLM"), "known already"),
        (Architecture("A", TensorNames(qkv="x")), "qkv"),
        (Architecture("A", TensorNames(query=None)), "qkv"),
        (Architecture("A", TensorNames(gate=None, up=None)), "up"),
        (Architecture("A", TensorNames(query_norm="x")), "head norms"),
        (Architecture("A", TensorNames(query_norm="x", key_norm="y")), "its query_key_norm is none"),
        (Architecture("A", query_key_norm=QueryKeyNorm.EACH_HEAD), "names no head norms"),
        (Architecture("A", TensorNames(after_mlp_norm="x"), layer=Layer.SANDWICH), "both norms behind"),
        (Architecture("A", TensorNames(after_attention_norm="x", after_mlp_norm="y")), "only there"),
        (Architecture("A", layer=Layer.SANDWICH), "both norms behind"),
        (Architecture("A", TensorNames(embedding_in="x")), "embedding_out"),
        (Architecture("A", activations={"gelu": "gelu"}), "gelu_tanh, silu"),
        (Architecture("A", activations={}), "activations"),
    ],
)
def test_a_row_that_contradicts_itself(row, words):
    with pytest.raises(InvalidInput, match=words):
        registry.register(row)


def test_the_shipped_rows_contradict_nothing_and_stand_in_the_docs():
    said = (CHECKOUT / "docs" / "models.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([A-Z]\w+)` \|", said, re.MULTILINE)
    assert sorted(named) == sorted(row.name for row in registry.FAMILIES)
    assert all(row.contradiction() is None for row in registry.FAMILIES)
    assert replace(registry.FAMILIES[0], name="Other").contradiction() is None
