"""How long an answer may be where a request does not say: the setting, then the model's
generation_config.json, then the setting's default.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skipjoin.serving.settings import load_settings
from skipjoin.serving.tokenizers import output_cap_for


@pytest.mark.parametrize(
    ("file", "options", "cap"),
    [
        ({}, {}, 1024),
        ({"max_new_tokens": 7}, {}, 7),
        ({"max_new_tokens": 5000}, {}, 5000),
        ({"max_new_tokens": 7}, {"default_max_new_tokens": 9}, 9),
        ({"max_new_tokens": 7}, {"default_max_new_tokens": 1024}, 1024),
        ({"max_new_tokens": None}, {}, 1024),
    ],
)
def test_the_first_that_says_it(tmp_path: Path, file: dict[str, object], options: dict[str, object], cap: int) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(file))
    assert output_cap_for(load_settings({"model": str(tmp_path), **options})) == cap


def test_without_a_model() -> None:
    assert output_cap_for(load_settings({"executor": "simulated"})) == 1024


def test_the_environment_counts_as_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "generation_config.json").write_text('{"max_new_tokens": 7}')
    monkeypatch.setenv("SKIPJOIN_DEFAULT_MAX_NEW_TOKENS", "11")
    assert output_cap_for(load_settings({"model": str(tmp_path)})) == 11
