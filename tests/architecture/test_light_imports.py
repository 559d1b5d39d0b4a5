"""What a part of the product loads when it is imported, everything behind it included.

The table in `house_rules` says who may name a library; this says who may end up with it in memory.
Each case runs in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import Module

PURE = {"torch", "grpc", "google.protobuf", "prometheus_client", "pydantic", "asyncio"}
CASES = {
    "core": PURE,
    "scheduler": PURE,
    "kvstore": PURE,
    "workload": PURE,
    "engine": PURE,
    "sim": {"torch", "grpc", "prometheus_client"},
    "client": {"torch", "numpy", "pydantic", "prometheus_client"},
    "proto": {"torch", "prometheus_client", "pydantic"},
    "jobpool": {"torch", "grpc", "prometheus_client"},
    "admin": {"torch", "prometheus_client"},
}
"""Folder -> what must not be loaded after importing all its modules (sub-folders are on floors of
their own).
"""

IMPORT_ALL = (
    "import importlib, json, sys\nfor m in sys.argv[1:]: importlib.import_module(m)\n"
    "print(json.dumps(list(sys.modules)))"
)


ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", [folder for folder in CASES if (ROOT / folder).is_dir()])
def test_stays_light(folder: str, product: list[Module]) -> None:
    own = [f"skipjoin.{m.name}" for m in product if m.name == folder or m.name.rpartition(".")[0] == folder]
    assert own
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *own], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert set(own) <= loaded
    assert CASES[folder] & loaded == set()
