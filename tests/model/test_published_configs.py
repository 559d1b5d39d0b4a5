"""The config.json of well-known models is understood as Transformers understands it, or refused
with the true reason.
"""

from __future__ import annotations

import json

import pytest
import torch
from folder_answers import compare
from published_configs import FIRST_PHI3_128K, REFUSED, SERVED, small
from transformers import AutoConfig, AutoModelForCausalLM

from skipjoin.core.errors import InvalidModel
from skipjoin.model.config import config_of, load_config

pytestmark = pytest.mark.usefixtures("quiet_transformers")


@pytest.mark.parametrize("name", SERVED)
def test_as_transformers_understands_it(tmp_path, name):
    """Its own model of that config, saved, and config.json as published put back."""
    raw = small(SERVED[name])
    torch.manual_seed(4)
    wanted = {"model_type": "llama"} | raw  # Transformers itself needs the type
    theirs = AutoModelForCausalLM.from_config(AutoConfig.for_model(**wanted))
    theirs.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(raw))
    load_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(wanted))
    assert compare(tmp_path) == "same"


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_true_reason(name):
    raw, words = REFUSED[name]
    with pytest.raises(InvalidModel) as caught:
        config_of(raw, {})
    assert words in str(caught.value) and caught.value.field


def test_the_first_spelling_of_longrope():
    first, later = small(FIRST_PHI3_128K), small(SERVED["Phi-3 mini 128k"])
    assert config_of(first, {}) == config_of(later, {}) and config_of(first, {}).max_context_tokens == 4096
