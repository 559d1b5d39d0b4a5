"""How the layers of a model are divided into stages."""

from __future__ import annotations

import pytest

from skipjoin.core.errors import InvalidModel
from skipjoin.model.config import config_of
from skipjoin.model.stage import stages_of, whole_model


def model(layers, vocabulary=100):
    """A layer has 65536 numbers, the head 64 a token."""
    return config_of(
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": 64,
            "intermediate_size": 256,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
        },
        {},
    )


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_stages_join_to_the_whole_and_the_first_has_both_ends(count):
    stages = stages_of(model(8), count)
    assert [i for stage in stages for i in stage.layers] == list(range(8))
    assert [stage.has_ends for stage in stages] == [True] + [False] * (count - 1)
    assert all(len(stage.layers) for stage in stages)


def test_one_stage_is_the_whole_model():
    assert stages_of(model(3), 1) == (whole_model(model(3)),)


@pytest.mark.parametrize(
    ("vocabulary", "count", "layers"),
    [
        (100, 2, [4, 4]),
        (2000, 2, [3, 5]),  # the head is as large as two layers
        (1500, 3, [2, 3, 3]),
        (100_000, 2, [1, 7]),
        (100, 8, [1] * 8),
    ],
)
def test_the_dearest_stage_reads_as_little_as_it_can(vocabulary, count, layers):
    assert [len(stage.layers) for stage in stages_of(model(8, vocabulary), count)] == layers


def test_more_stages_than_layers_are_refused():
    with pytest.raises(InvalidModel, match=r"2 layers .* into 3 stages") as refused:
        stages_of(model(2), 3)
    assert refused.value.field == "pipeline_parallel"
