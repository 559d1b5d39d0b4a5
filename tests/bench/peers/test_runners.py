"""What CTranslate2's runner keeps of converted models; the converter itself lives in the peer's
environment.
"""

from __future__ import annotations

import os
import shutil
import sys
import types
from pathlib import Path

import pytest

from skipjoin.bench.peers.runners import KEPT, converted
from skipjoin.model.presets import init_model


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were converted. What is converted is not the matter here, so copying stands
    for it.
    """
    calls: list[str] = []

    class Converter:
        def __init__(self, model: str) -> None:
            self._model = model

        def convert(self, out: str) -> None:
            calls.append(self._model)
            shutil.copytree(self._model, out)

    package, converters = types.ModuleType("ctranslate2"), types.ModuleType("ctranslate2.converters")
    converters.TransformersConverter = Converter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ctranslate2", package)
    monkeypatch.setitem(sys.modules, "ctranslate2.converters", converters)
    return calls


def test_the_same_contents_are_converted_once_and_old_ones_go(made: list[str], tmp_path: Path) -> None:
    kept, model = tmp_path / "kept", tmp_path / "model"
    init_model(model, "tiny")
    folder = converted(model, kept)
    # Made again, or copied: other times, the same numbers.
    shutil.copytree(model, tmp_path / "again", copy_function=shutil.copyfile)
    assert converted(tmp_path / "again", kept) == folder and len(made) == 1
    (kept / "half.new").mkdir()
    others = []
    for seed in range(1, KEPT + 1):
        init_model(tmp_path / str(seed), "tiny", seed)
        others.append(converted(tmp_path / str(seed), kept))
        os.utime(others[-1], (2e9 + seed, 2e9 + seed))
    assert set(kept.iterdir()) == set(others) and len(made) == 1 + KEPT
    assert converted(model, kept) == folder and len(made) == 2 + KEPT
