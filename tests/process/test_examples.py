"""The scripts in examples/ do what they say, against a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from process_server import Server

Serve = Callable[..., Server]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def _run(script: str, *words: str, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *words],
        input=given, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_stream_goes_on_where_it_was_cut(serve: Serve) -> None:
    server = serve("--simulated-scale", "0.2")
    cut, on, whole = _run("async_resume.py", f"127.0.0.1:{server.port}").splitlines()
    offset = int(cut.split()[-2])
    assert 10 <= offset < 48
    assert on.endswith(f"from {offset} to 48")
    assert whole == "the two halves are the whole"


def test_a_batch_run_again_computes_nothing_again(serve: Serve) -> None:
    server = serve()
    prompts = "one\ntwo\n\nthree and a half\n"
    first = _run("sync_batch.py", f"127.0.0.1:{server.port}", given=prompts)
    assert [line.partition(":")[0] for line in first.splitlines()] == ["'one'", "'two'", "'three and a half'"]
    assert "16 tokens, length" in first
    assert _run("sync_batch.py", f"127.0.0.1:{server.port}", given=prompts) == first
    with server.stub() as stub:
        from skipjoin.proto import job_pool_pb2 as pb

        assert len(stub.List(pb.ListRequest()).jobs) == 3
