"""Runs every case interpreted on the CPU and, where there is one, on a CUDA device; and asks the
compiler without a device.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest


class Worker:
    """A process of case_worker.py; started when first asked."""

    def __init__(self, folder, **environment):
        self._environment = {"OMP_NUM_THREADS": "1", "TRITON_CACHE_DIR": str(folder / "cache"), **environment}
        self._log = folder / "stderr.txt"
        self._process = None

    def ask(self, case, **arguments):
        if self._process is None:
            with self._log.open("w") as log:
                self._process = subprocess.Popen(
                    [sys.executable, str(Path(__file__).with_name("case_worker.py"))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**os.environ, **self._environment},
                )
        self._process.stdin.write(json.dumps({"case": case, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            pytest.fail(f"the process of the cases died:\n{self._log.read_text()[-3000:]}", pytrace=False)
        answer = json.loads(line)
        if answer["failure"] is not None:
            pytest.fail(f"{case}({arguments})\n{answer['failure']}", pytrace=False)
        return answer["value"]

    def close(self):
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait(timeout=30)
            self._process.stdout.close()


def _worker(tmp_path_factory, name, **environment):
    worker = Worker(tmp_path_factory.mktemp(name), **environment)
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def interpreter(tmp_path_factory):
    yield from _worker(tmp_path_factory, "interpreter", TRITON_INTERPRET="1")


@pytest.fixture(scope="session")
def compiler(tmp_path_factory):
    yield from _worker(tmp_path_factory, "compiler", TRITON_INTERPRET="0")


@pytest.fixture(scope="session", params=["interpreted", pytest.param("device", marks=pytest.mark.gpu)])
def run(request):
    """run(case, ...) computes a case and fails where it differs from its reference by more than it
    may.
    """
    if request.param == "interpreted":
        worker, device = request.getfixturevalue("interpreter"), "cpu"
    else:
        worker, device = request.getfixturevalue("compiler"), "cuda"
    return lambda case, **arguments: worker.ask(case, device=device, **arguments)


@pytest.fixture
def seed():
    """Fresh numbers each time; the same ones on the build server."""
    return 7 if os.environ.get("CI") else random.SystemRandom().randrange(2**31)
