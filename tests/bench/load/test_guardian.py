"""The process that ends what a killed measurement left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skipjoin.bench.load.guardian import Guardian
from skipjoin.bench.load.process import own_environment

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEPER)
    yield process
    process.kill()
    process.wait()


def test_who_is_dismissed_kills_nobody(sleeper: subprocess.Popen[bytes]) -> None:
    guardian = Guardian()
    guardian.watch(sleeper.pid, group=False)
    guardian.dismiss()
    guardian.dismiss()
    time.sleep(0.2)
    assert sleeper.poll() is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_whoever_was_watched_ends_with_the_watching_process(
    sleeper: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    source = """
import os, sys
from skipjoin.bench.load.guardian import Guardian
guardian = Guardian()
guardian.watch(int(sys.argv[1]), group=False)
os.kill(os.getpid(), int(sys.argv[2]))
"""
    words = [sys.executable, "-c", source, str(sleeper.pid), str(int(number))]
    done = subprocess.run(words, env=own_environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -number, done.stderr
    assert sleeper.wait(30) == -signal.SIGKILL


def test_one_that_was_killed_is_no_reason_to_end(sleeper: subprocess.Popen[bytes]) -> None:
    guardian = Guardian()
    guardian._process.kill()
    guardian._process.wait()
    guardian.watch(sleeper.pid, group=False)
    guardian.dismiss()
    assert sleeper.poll() is None


def test_our_own_server_ends_with_a_killed_measurement(tmp_path: Path) -> None:
    """Door and engine. The bench is killed while it serves."""
    source = """
import os, sys
from pathlib import Path
from skipjoin.bench.load.process import OwnServer
flags = ["--executor", "simulated", "--max-batch", "4", "--kv-tokens", "512"]
with OwnServer(Path(sys.argv[1]), flags) as server:
    print(server.http_url, flush=True)
    os.kill(os.getpid(), 9)
"""
    words = [sys.executable, "-c", source, str(tmp_path)]
    with (tmp_path / "said").open("w") as out:  # no pipe: the server would hold it open
        done = subprocess.run(words, env=own_environment(), stdout=out, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL and (tmp_path / "said").read_text().startswith("http://")
    deadline = time.monotonic() + 60
    while _naming(str(tmp_path)):
        assert time.monotonic() < deadline, _naming(str(tmp_path))
        time.sleep(0.1)


def test_our_own_server_ends_though_the_wait_for_its_end_was_interrupted(tmp_path: Path) -> None:
    """Ctrl-C while a server that does not hear is asked to end."""
    source = """
import signal, sys
from pathlib import Path
from skipjoin.bench.load import process as server
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('gRPC 127.0.0.1:1', flush=True)"
deaf += "; time.sleep(600)"
server.own_command = lambda *words: [sys.executable, "-c", deaf, *words]
signal.signal(signal.SIGALRM, signal.default_int_handler)
with server.OwnServer(Path(sys.argv[1]), []):
    signal.setitimer(signal.ITIMER_REAL, 0.3)
"""
    words = [sys.executable, "-c", source, str(tmp_path)]
    done = subprocess.run(words, env=own_environment(), stderr=subprocess.DEVNULL, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT, "interrupted"
    deadline = time.monotonic() + 8
    while left := _naming(str(tmp_path)):
        if time.monotonic() > deadline:
            os.kill(int(left[0].split()[0]), signal.SIGKILL)
            raise AssertionError(left)
        time.sleep(0.05)


def _naming(word: str) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            line = (process / "cmdline").read_text() if process.name.isdigit() else ""
        except OSError:
            continue
        if word in line:
            found.append(f"{process.name} {line[:200]}")
    return found
