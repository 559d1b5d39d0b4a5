"""Every field of generation_config.json is a default of requests, named in a warning, or known to
change no token.
"""

from __future__ import annotations

import json
import logging

import pytest
from transformers import GenerationConfig

from skipjoin.core.errors import InvalidModel
from skipjoin.core.sampling import SamplingParams
from skipjoin.model.model_json import Fields
from skipjoin.model.text.generation import WITHOUT_EFFECT, recommended, sampling_defaults

OBEYED = {
    "do_sample": (False, {"temperature": 0.0}),
    "temperature": (0.3, {"temperature": 0.3}),
    "top_k": (7, {"top_k": 7}),
    "top_p": (0.4, {"top_p": 0.4}),
    "min_p": (0.2, {"min_p": 0.2}),
    "repetition_penalty": (1.3, {"repetition_penalty": 1.3}),
    "stop_strings": (["\n\n", "User:"], {"stop": ("\n\n", "User:")}),
}
# Values that ask for something, where the kind of the default does not show one.
ASKING = {"early_stopping": True, "max_new_tokens": 5, "max_length": 99, "num_assistant_tokens_schedule": "heuristic"}
NEUTRAL = {
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "length_penalty": 1.0,
    "diversity_penalty": 0.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "early_stopping": False,
    "max_length": 20,
    "min_length": 0,
    "guidance_scale": 1.0,
    "suppress_tokens": None,
    "bad_words_ids": [],
    "token_healing": False,
    "output_scores": False,
}


@pytest.fixture
def read(tmp_path):
    def written(**fields):
        (tmp_path / "generation_config.json").write_text(json.dumps(fields))
        return recommended(tmp_path)

    return written


def test_no_file_and_an_empty_one(tmp_path, read):
    assert recommended(tmp_path).sampling == SamplingParams() and recommended(tmp_path).max_new_tokens is None
    assert read().sampling == SamplingParams() and read().remarks == ()


@pytest.mark.parametrize("name", OBEYED)
def test_a_default_of_requests(read, name):
    value, wanted = OBEYED[name]
    found = read(**{name: value})
    assert found.sampling == SamplingParams(**wanted) and found.remarks == ()


@pytest.mark.parametrize("name", sorted(vars(GenerationConfig())))
def test_each_field_of_transformers(read, name):
    value = ASKING.get(name, 3)
    if name in OBEYED or name in ("max_new_tokens", "eos_token_id"):
        return
    said = " ".join(read(**{name: value}).remarks)
    assert (name in said) != (name in WITHOUT_EFFECT), "told, or known to change nothing"


def test_a_field_that_is_not_known(read):
    (said,) = read(chat_format="chatml", another=1, transformers_version="4.1", neither=None).remarks
    assert "another, chat_format" in said and "version" not in said and "neither" not in said


def test_values_that_ask_for_nothing(read):
    assert read(**NEUTRAL).remarks == () and read(**NEUTRAL).sampling == SamplingParams()


@pytest.mark.parametrize(("value", "top_k"), [(50.0, 50), (0, 0), (-1, 0), (None, 0), (1.0, 1)])
def test_spellings_of_top_k(read, value, top_k):
    assert read(top_k=value).sampling.top_k == top_k


def test_whole_numbers_written_as_others(read):
    assert read(max_new_tokens=256.0).max_new_tokens == 256
    assert Fields({"eos": [2.0, 3]}, file="f", whole_floats=True).token_ids("eos", 8) == (2, 3)


@pytest.mark.parametrize("top_p", [0, 0.0])
def test_a_nucleus_of_nothing_is_the_most_likely_token(read, top_p):
    assert read(top_p=top_p, temperature=0.7).sampling == SamplingParams(temperature=0.0)


def test_filters_beside_the_word_for_greedy_are_without_effect(read):
    found = read(do_sample=False, top_p=0, top_k=50.5, min_p=7, repetition_penalty=1.1)
    assert found.sampling == SamplingParams(temperature=0.0, repetition_penalty=1.1)


def test_one_stop_string(read):
    assert read(stop_strings="END").sampling.stop == ("END",)


@pytest.mark.parametrize(("do_sample", "temperature"), [(True, 0.7), (None, 0.7), (False, 0.0)])
def test_a_temperature_beside_the_word_for_greedy(read, do_sample, temperature):
    assert read(do_sample=do_sample, temperature=0.7).sampling.temperature == temperature


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", 50.5),
        ("top_k", "50"),
        ("top_k", -2),
        ("top_p", False),
        ("top_p", -0.1),
        ("max_new_tokens", 5.5),
        ("top_k", float("nan")),
        ("do_sample", "yes"),
        ("do_sample", 1),
        ("stop_strings", {"a": 1}),
        ("stop_strings", [""]),
        ("stop_strings", ["a"] * 17),
        ("max_new_tokens", 0),
        ("max_new_tokens", "many"),
        ("temperature", 1e999),
        ("temperature", -1),
        ("min_p", 2),
        ("repetition_penalty", 0),
    ],
)
def test_what_cannot_be(read, field, value):
    with pytest.raises(InvalidModel, match=r"generation_config\.json") as caught:
        read(**{field: value})
    assert caught.value.field in (field, "stop")


def test_what_is_asked_in_vain_is_logged_once(tmp_path, read, caplog):
    read(num_beams=4, penalty_alpha=0.6, top_k=4)
    with caplog.at_level(logging.WARNING, logger="skipjoin.model"):
        assert sampling_defaults(tmp_path).top_k == 4
    (record,) = caplog.records
    assert record.message.startswith("generation_config.json: without effect: num_beams, penalty_alpha.")
