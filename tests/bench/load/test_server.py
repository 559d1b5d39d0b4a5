"""A server of our own: started, found, ended, and the words of one that does not start."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from measured import SERVED, Said, workload

from skipjoin.bench.demo.runs import drive
from skipjoin.bench.load.process import OwnServer, own_command, own_environment
from skipjoin.client import Client
from skipjoin.core.clock import MonotonicClock
from skipjoin.core.errors import Unavailable


def _processes(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = place.joinpath("cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append(int(place.name))
    return found


def test_it_runs_and_is_gone(tmp_path: Path) -> None:
    def use(server: OwnServer) -> None:
        assert server.address.startswith("127.0.0.1:") and str(server.http_url).startswith("http://127.0.0.1:")
        with Client(server.address) as client:
            assert client.list().jobs == ()
        assert (tmp_path / "jobs.sqlite").exists() and (tmp_path / "admin.sock").exists()
        assert len(_processes(tmp_path)) == 1
        raise RuntimeError("inside")

    running = OwnServer(tmp_path, SERVED)
    with pytest.raises(RuntimeError, match="inside"), running:
        use(running)
    assert _processes(tmp_path) == []
    assert running.stop() == 0
    assert running.stop() == 0


def test_one_that_does_not_start_says_why(tmp_path: Path) -> None:
    server = OwnServer(tmp_path, ["--model", str(tmp_path / "nowhere")])
    with pytest.raises(Unavailable, match="The server did not start: skipjoin: There is no folder"), server:
        pytest.fail("it runs")
    assert server.stop() == 2
    assert OwnServer(tmp_path, SERVED).stop() is None


def test_nothing_of_ours_leaks_into_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIPJOIN_MAX_BATCH", "2")
    monkeypatch.setenv("OTHER", "kept")
    environment = own_environment()
    assert "SKIPJOIN_MAX_BATCH" not in environment and environment["OTHER"] == "kept"
    assert not [name for name in environment if name.startswith("SKIPJOIN_")]


def test_a_file_of_the_current_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit(77)\n")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    done = subprocess.run(
        own_command("--version"), cwd=tmp_path, env=own_environment(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout[:9]) == (0, b"skipjoin ")


def test_a_workload_is_driven_to_its_end(server: OwnServer, said: Said) -> None:
    jobs = workload([0, 5, 10, 15], prompt=60, output=20)
    run = asyncio.run(drive(server, jobs, MonotonicClock(), said))
    assert run.failures == []
    told = run.results()
    assert told.requests == said.ended_jobs == 4
    assert told.bytes_moved is not None and told.preemptions is not None
    assert told.mean_ttft_s is not None and told.mean_jct_s is not None and 0 < told.mean_ttft_s < told.mean_jct_s
