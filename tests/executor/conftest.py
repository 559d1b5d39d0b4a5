"""A tiny model folder, made once, and the classes that drive an executor by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from skipjoin.executor.presets import init_model
from skipjoin.executor.weights import load_model

torch.set_num_threads(1)


def _plan_driver():
    """tests are no package: the module beside this file is loaded by its path, once."""
    if "plan_driver" not in sys.modules:
        spec = importlib.util.spec_from_file_location("plan_driver", Path(__file__).with_name("plan_driver.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules["plan_driver"] = module
        spec.loader.exec_module(module)
    return sys.modules["plan_driver"]


_plan_driver()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    init_model(folder, "tiny", seed=7)
    return folder


@pytest.fixture(scope="session")
def tiny64(tiny_folder):
    return load_model(tiny_folder, "cpu", "float64")
