"""Every kernel compiles for Ampere and Hopper where there is neither, fits their shared memory, and
multiplies in the dtype it is given.
"""

from __future__ import annotations

import pytest
from transformers_models import FAMILIES

FORMS = {"bfloat16": "bf16.bf16", "float16": "f16.f16"}
KERNELS = {"_rotate_and_write", "_copy", "_norm", "_gate", "_score", "_choose"}
LACKING = {"llama": set(), "gemma": set(), "gpt2": {"_gate"}}
LLAMA = {"heads": 8, "kv_heads": 2, "head_dim": 128}


def multiplies_in(facts, dtype):
    return any(f".{FORMS[dtype]}" in product for product in facts["_attend"]["products"])


@pytest.mark.parametrize("capability", [80, 90])
def test_attention(compiler, capability):
    facts = compiler.ask("ahead_cases.attend", capability=capability, dtype="bfloat16", chunks=True, **LLAMA)
    assert facts.keys() == {"_attend", "_merge"}
    assert all(fact["target"] for fact in facts.values())
    assert multiplies_in(facts, "bfloat16") and not multiplies_in(facts, "float16")


def test_control_an_upcast_would_be_seen(compiler):
    """What runs in the interpreter, which multiplies bfloat16 wrongly, must not be what a device
    runs.
    """
    options = {"capability": 80, "dtype": "bfloat16", "chunks": False, "heads": 2, "kv_heads": 1, "head_dim": 64}
    assert multiplies_in(compiler.ask("ahead_cases.attend", **options), "bfloat16")
    assert not multiplies_in(compiler.ask("ahead_cases.attend", **options, upcast=True), "bfloat16")


@pytest.mark.parametrize("capability", [80, 90])
def test_float32_keeps_its_digits(compiler, capability):
    """The matrix units know float32 only with 10 bits."""
    options = {"dtype": "float32", "chunks": False, "heads": 2, "kv_heads": 1, "head_dim": 64}
    facts = compiler.ask("ahead_cases.attend", capability=capability, **options)
    assert facts["_attend"]["products"] == []


@pytest.mark.parametrize(("capability", "dtype"), [(80, "bfloat16"), (90, "float32")])
def test_all_others(compiler, capability, dtype):
    facts = compiler.ask("ahead_cases.others", capability=capability, dtype=dtype)
    assert facts.keys() == KERNELS
    assert all(fact["target"] for fact in facts.values())


@pytest.mark.parametrize("model", ["llama", pytest.param("gemma", marks=pytest.mark.soak), "gpt2"])
def test_every_form_of_a_model_is_compiled_at_the_start(compiler, model):
    found = compiler.ask("ahead_cases.variants", capability=90, dtype="bfloat16", model=model)
    told, kernels = found["told"], found["kernels"]
    assert [done for done, _, _ in told] == list(range(len(told)))
    assert {total for _, total, _ in told} == {len(told) - 1} and told[-1][2] == ""
    assert len(kernels) == len(told) - 1 and all(kernels.values()), (
        "a form without a name of its own, or without a kernel"
    )
    assert set().union(*kernels.values()) == {"_attend", "_merge", *KERNELS} - LACKING[model]


@pytest.mark.parametrize("model", ["llama", "gemma", "gpt2"])
def test_nothing_is_left_to_compile_later(compiler, seed, model):
    assert compiler.ask("ahead_cases.not_compiled", dtype="bfloat16", model=model, seed=seed) == []


@pytest.mark.parametrize(
    "without", ["attention 1, chunks", "sum and norm 1", "rotation and write", "sampling", "sampling with penalties"]
)
def test_control_a_form_left_out_is_seen(compiler, seed, without):
    options = {"dtype": "bfloat16", "model": "llama", "seed": seed}
    assert compiler.ask("ahead_cases.not_compiled", **options, without=without) != []


@pytest.mark.soak
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("head_dim", [64, 80, 128, 192, 256])
@pytest.mark.parametrize("chunks", [False, True])
def test_every_attention(compiler, capability, dtype, head_dim, chunks):
    for options in ({}, {"window": 100, "softcap": 30.0}, {"heads": 32, "kv_heads": 1}):
        shape = {"heads": 8, "kv_heads": 2, "head_dim": head_dim, "chunks": chunks, **options}
        facts = compiler.ask("ahead_cases.attend", capability=capability, dtype=dtype, **shape)
        assert dtype == "float32" or multiplies_in(facts, dtype)


@pytest.mark.soak
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_all_others_in_every_dtype(compiler, capability, dtype):
    assert compiler.ask("ahead_cases.others", capability=capability, dtype=dtype).keys() == KERNELS


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_start_leaves_a_decoder_nothing_to_compile(compiler, seed, family, dtype):
    assert compiler.ask("forms_cases.not_ready", family=family, dtype=dtype, seed=seed) == []


def test_control_without_the_start_there_is_much_to_compile(compiler, seed):
    found = compiler.ask("forms_cases.not_ready", family="llama", dtype="bfloat16", seed=seed, start=False)
    assert len(found) > 4
