"""A tiny model folder, made once, and quiet from Transformers: fixtures for the tests of model,
executor and gpu.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from skipjoin.model.presets import init_model
from skipjoin.model.weights.loading import load_model

torch.set_num_threads(1)


@pytest.fixture
def quiet_transformers():
    """It warns of most of what is wrong with a folder on purpose, and draws a bar for each one that
    it loads.
    """
    transformers.utils.logging.disable_progress_bar()
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    yield
    transformers.logging.set_verbosity(level)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    init_model(folder, "tiny", seed=7)
    return folder


@pytest.fixture(scope="session")
def tiny64(tiny_folder):
    return load_model(tiny_folder, "cpu", "float64")
