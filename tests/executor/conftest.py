"""A tiny model folder, made once, and the classes that drive an executor by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
import transformers

from skipjoin.executor.loading import load_model
from skipjoin.executor.presets import init_model

torch.set_num_threads(1)


def _load(name):
    """tests are no package: a module beside this file is loaded by its path, once."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


for beside in (
    "plan_driver",
    "ahead_story",
    "transformers_models",
    "config_mutations",
    "folder_answers",
    "published_configs",
    "small_tokenizers",
):
    _load(beside)


@pytest.fixture
def quiet_transformers():
    """It warns of most of what is wrong with a folder on purpose, and draws a bar for each one that it loads."""
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
