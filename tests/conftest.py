"""Which tests run where: gpu tests need CUDA, data tests a folder, soak tests need to be asked for.

Owns the selection and the hypothesis profile of the whole suite. It knows nothing of what the tests test; pytest calls it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tests share two cores

# The checkout's folders must not pass for top-level modules (`kernels`, `proto`), neither here nor in processes that tests start.
_ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _ROOT]
os.environ["PYTHONSAFEPATH"] = "1"

# A shell that runs the suite in the background ignores Ctrl-C for it and for every process that it starts; tests send some of them Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Wall-clock deadlines of hypothesis measure the neighbours on a shared machine, not the code.
settings.register_profile("skipjoin", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("skipjoin"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "skipjoin")


def _cuda_here() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect gpu tests without CUDA (torch is imported only if such a test was collected), soak tests nobody asked for, data tests without data."""
    unwanted: set[pytest.Item] = set()
    if "soak" not in config.getoption("markexpr"):
        unwanted.update(item for item in items if item.get_closest_marker("soak"))
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu and not _cuda_here():
        unwanted.update(gpu)
    if not os.environ.get("SKIPJOIN_BENCH_DATA"):
        unwanted.update(item for item in items if item.get_closest_marker("data"))
    if unwanted:
        config.hook.pytest_deselected(items=[item for item in items if item in unwanted])
        items[:] = [item for item in items if item not in unwanted]
