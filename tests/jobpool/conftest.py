"""Pools to test: every implementation, in a folder of the test's own.

Owns the fixtures only; `job_pools.py` makes jobs and holds the model. A new implementation of the
port adds its name to IMPLEMENTATIONS and passes the same suite.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # job_pools, beside this file

from skipjoin.core.jobpool import JobPool
from skipjoin.jobpool.registry import open_pool

IMPLEMENTATIONS = ("memory", "sqlite")
Opener = Callable[[], JobPool]


@pytest.fixture(params=IMPLEMENTATIONS)
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobPool]:
    """A fresh pool of each kind."""
    made = open_pool("memory" if request.param == "memory" else f"sqlite:{tmp_path / 'jobs.sqlite'}")
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a SQLite pool of this test lies."""
    return tmp_path / "jobs.sqlite"


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is one: a process that is killed leaves the same there as on a
    disk, and syncing costs nothing.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)
