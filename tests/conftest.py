"""Which tests run where and when: gpu tests need CUDA, data tests a folder, soak tests need to be
asked for.

Owns the selection, the hypothesis profile of the whole suite, what a machine has to have for a
test, and that a test which judges waits has the machine to itself while the others run two at a
time. It knows nothing of what the tests test; pytest calls it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tests share two cores

# The checkout's folders must not pass for top-level modules (`kernels`, `proto`), neither here nor
# in processes that tests start.
_ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _ROOT]
os.environ["PYTHONSAFEPATH"] = "1"

# A shell that runs the suite in the background ignores Ctrl-C for it and for every process that it
# starts, and `nohup` ignores the end of the terminal; tests send some of them one or the other.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# Wall-clock deadlines of hypothesis measure the neighbours on a shared machine, not the code.
settings.register_profile("skipjoin", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("skipjoin"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "skipjoin")


def _cuda_here() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect gpu tests without CUDA (torch is imported only if such a test was collected), soak
    tests nobody asked for, data tests without data.
    """
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


# What a machine may lack
# ----------------------------------------------------------------------------------------
def _has_compiler() -> bool:
    import torch

    from skipjoin.kernels.native.library import library

    return library(torch.float32) is not None


def _has_onednn_bf16() -> bool:
    import torch

    from skipjoin.kernels.linear import can_pack

    return can_pack(torch.bfloat16)


MACHINE: dict[str, Callable[[], bool]] = {
    "a C compiler": _has_compiler,
    "bf16 products of oneDNN": _has_onednn_bf16,
    "Ray": lambda: find_spec("ray") is not None,
}
"""What `@pytest.mark.needs(NAME)` may ask for. A test that does not find it is skipped with the
name, and counted.
"""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs what this machine lacks."""
    for mark in item.iter_markers("needs"):
        if not MACHINE[mark.args[0]]():
            pytest.skip(f"this machine lacks {mark.args[0]}")


# One by one, or two at a time
# -----------------------------------------------------------------------------------
@contextmanager
def _turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold the machine together with other tests, or `alone`.

    Two locks: who waits for the machine holds the gate, so that tests which share it cannot keep
    one out that wants it whole.
    """
    with (folder / "gate").open("w") as gate, (folder / "machine").open("w") as machine:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Tests of several workers share the machine, except those marked alone. Outside of the test's
    own time limit.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return (yield)
    folder = Path(tempfile.gettempdir()) / f"skipjoin-tests-{run}"
    folder.mkdir(exist_ok=True)
    with _turn(folder, alone=item.get_closest_marker("alone") is not None):
        return (yield)


ATTEMPTS = 3


@pytest.hookimpl(specname="pytest_runtest_protocol", tryfirst=True)
def pytest_runtest_protocol_of_waits(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """A test that judges waits has three attempts: neighbours of a shared machine only ever add to
    a wait, so the best one counts.
    """
    if item.get_closest_marker("alone") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(1, ATTEMPTS + 1):
        item._initrequest()  # type: ignore[attr-defined]
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if attempt == ATTEMPTS or not any(report.failed for report in reports):
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
