"""What the tests of measurements share: a real server on the simulated executor, and somebody to
report to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # measured, beside this file

from measured import SERVED, Said

from skipjoin.bench.load.process import OwnServer
from skipjoin.cost.profiles import load_profile
from skipjoin.cost.schema import render_profile


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """One server for all tests of the folder: four jobs in a batch, KV for two or three, and moves
    that cost less than prompts.
    """
    folder = tmp_path_factory.mktemp("server")
    known = load_profile("opt-13b-a100")
    slow_prompts = replace(known, model=replace(known.model, prefill_token_ns=1e7))
    (folder / "profile.json").write_text(render_profile(slow_prompts))
    with OwnServer(folder, [*SERVED, "--profile", str(folder / "profile.json")]) as running:
        yield running


@pytest.fixture
def said() -> Said:
    """A bar that remembers what it was told."""
    return Said()
