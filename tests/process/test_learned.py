"""A server that is started again goes on with the lengths that it learned, and its record says what
it began with.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from process_server import Server, spec

from skipjoin.engine.record import replay
from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.scheduler.lengths.learned import read

Serve = Callable[..., Server]


def answer(server: Server, count: int) -> None:
    with server.stub() as stub:
        streams = [stub.Generate(pb.GenerateRequest(spec=spec("a" * (9 + i), 20))) for i in range(count)]
        for stream in streams:
            assert list(stream)[-1].chunk.finish.output_tokens == 20


def test_lengths_outlive_the_server(serve: Serve, tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"
    server = serve("--policy", "adaptive", "--record", str(record))
    kept = server.folder / "jobs.sqlite.learned"
    answer(server, 20)
    assert server.terminate() == 0
    first = kept.read_bytes()
    assert read(first).rebuilds == 1  # made anew of what it counted
    assert replay(record).first_difference is None

    server.start()
    answer(server, 10)
    assert server.terminate() == 0
    assert json.loads(record.read_text().splitlines()[0])["learned"] == first.decode()
    assert replay(record).first_difference is None
    assert kept.read_bytes() != first

    kept.write_bytes(first[:-40])
    server.start()
    answer(server, 2)
    assert server.terminate() == 0
    assert "learned anew" in server.log.read_text()
