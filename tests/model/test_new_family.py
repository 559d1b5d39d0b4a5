"""A family with a part that no family here has, brought from outside by the public seam alone: all of
it is in this file.

StableLM with a parallel residual: attention and MLP read the same norm of the stream, and one sum
takes both (Wang and Komatsuzaki 2021).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import pytest
import torch
from plan_driver import Job, PlanDriver
from torch import Tensor
from transformers import StableLmConfig, StableLmForCausalLM

from skipjoin.core.errors import InvalidModel
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kernels.dispatch import Kernels
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model import registry
from skipjoin.model.architectures import Architecture, Either, Layer, Norm, Part, TensorNames
from skipjoin.model.parts import norm
from skipjoin.model.parts.attention import Attention
from skipjoin.model.parts.linear import products_in
from skipjoin.model.parts.mlp import Mlp
from skipjoin.model.parts.reader import Reader
from skipjoin.model.weights.loading import load_model


@dataclass(frozen=True, slots=True)
class SharedNorm:
    """x += attention(norm(x)) + mlp(norm(x)): the new part."""

    reads_entered: ClassVar[bool] = True

    entry: norm.Norm
    attention: Attention
    mlp: Mlp

    @classmethod
    def read(cls, reader: Reader, i: int) -> Self:
        names, parts = reader.config.architecture.tensors, reader.config.parts
        entry = reader.norm(names.attention_norm, i)
        return cls(entry, reader.part(parts.attention).read(reader, i), reader.part(parts.mlp).read(reader, i))

    @classmethod
    def last_norm(cls, reader: Reader) -> norm.Norm:
        return reader.norm(reader.config.architecture.tensors.final_norm)

    def join(
        self, kernels: Kernels, stream: Tensor, entered: Tensor, rows: Tensor, following: norm.Norm
    ) -> tuple[Tensor, Tensor]:
        both = self.attention.out(rows) + self.mlp.of(kernels, entered)
        return stream, following.of_sum_(kernels, both, stream)


ROW = Architecture(
    "StableLmForCausalLM",
    spelled={"norm_eps": "layer_norm_eps"},
    defaults={"layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25, "max_position_embeddings": 4096},
    required={"qk_layernorm": False},
    layer=Either("use_parallel_residual", Part(__name__, "SharedNorm"), Layer.PRE_NORM),
    norm=Norm.LAYER,
    qkv_bias="use_qkv_bias",
    partial_rotary=True,
)


@pytest.fixture
def known():
    """The row, while a test runs."""
    before = dict(registry._registered)
    registry.register(ROW)
    yield
    registry._registered.clear()
    registry._registered.update(before)


@pytest.fixture(scope="module", params=[True, False])
def stablelm(request, tmp_path_factory):
    """(whether its residual is parallel, folder, Transformers' model in float64)."""
    torch.manual_seed(2)
    config = StableLmConfig(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.15,
        use_qkv_bias=True,
        use_parallel_residual=request.param,
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
    return request.param, folder, model.to(torch.float64)


@torch.inference_mode()
def test_its_tokens_are_those_of_transformers(stablelm, known):
    """Chunked prefill and decode in one batch, and rows that end before others."""
    parallel, folder, reference = stablelm
    model = load_model(folder, "cpu", "float64")
    assert all(isinstance(layer, SharedNorm) is parallel for layer in model.parts.layers)
    jobs = [Job(i, list(range(3 + i, 40 + 7 * i)), 48) for i in range(3)]
    executor = TorchExecutor(model, PoolShape(40, 0))
    PlanDriver(executor, chunk=16).run(jobs)
    executor.close()
    for job in jobs:
        tokens = torch.tensor([job.prompt + job.tokens[:-1]])
        assert reference(input_ids=tokens).logits[0, len(job.prompt) - 1 :].argmax(-1).tolist() == job.tokens
    assert len({token for job in jobs for token in job.tokens}) > 12, "a dull model"


def test_who_looks_into_a_model_finds_the_new_part(stablelm, known):
    """Four products a layer and the head, whatever the layer is called."""
    _, folder, _ = stablelm
    assert len(products_in(load_model(folder).parts)) == 3 * 4 + 1


@pytest.mark.parametrize(
    ("part", "words"), [(Part("no.such.module", "A"), "no.such.module"), (Part(__name__, "Missing"), "Missing")]
)
def test_a_part_that_is_not_there(stablelm, known, part, words):
    registry._registered[ROW.name] = replace(ROW, layer=part)
    with pytest.raises(InvalidModel, match=words) as refused:
        load_model(stablelm[1])
    assert refused.value.field == "architectures"


def test_a_tensor_that_the_part_does_not_read_is_refused(stablelm, known):
    """The sequential form has a norm more in each layer."""
    parallel, folder, _ = stablelm
    other = Layer.PRE_NORM if parallel else Part(__name__, "SharedNorm")
    registry._registered[ROW.name] = replace(ROW, layer=other, tensors=TensorNames())
    with pytest.raises(InvalidModel, match="post_attention_layernorm"):
        load_model(folder)
