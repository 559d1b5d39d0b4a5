"""`--record` of a live run replays with identical effects, and a changed record does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from process_server import Server, spec

from skipjoin.engine.record import replay
from skipjoin.proto import job_pool_pb2 as pb

Serve = Callable[..., Server]


def test_a_live_run_replays_and_a_restarted_engine_writes_a_record_of_its_own(serve: Serve, tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"
    server = serve("--record", str(record), "--kv-tokens", "512", "--max-batch", "4", "--simulated-scale", "0.2")
    with server.stub() as stub:
        # Together they need several times the KV: preemptions and moves are in the record.
        streams = [stub.Generate(pb.GenerateRequest(spec=spec("r" * (10 + 9 * i), 60))) for i in range(12)]
        for stream in streams:
            assert list(stream)[-1].chunk.finish.output_tokens == 60
        server.kill_engine()
        assert list(stub.Generate(pb.GenerateRequest(spec=spec("later", 10))))[-1].chunk.finish.output_tokens == 10
    assert server.terminate() == 0
    second = replay(record.with_name("run.jsonl.2"))
    assert second.first_difference is None
    assert second.identical == second.turns >= 10

    # The first engine was killed: its last line may be half written, all before it must replay.
    whole = record.read_text().rsplit("\n", 1)[0].splitlines()
    kept = tmp_path / "kept.jsonl"
    kept.write_text("\n".join(whole) + "\n")
    first = replay(kept)
    assert first.first_difference is None
    assert first.identical == first.turns > 50

    changed = tmp_path / "changed.jsonl"
    changed.write_text("\n".join([whole[0], *whole[2:]]) + "\n")
    assert replay(changed).first_difference is not None


def test_the_adaptive_ladder_serves_with_a_dial_and_replays(serve: Serve, tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"
    flags = ("--policy", "adaptive", "--tail", "0.25", "--record", str(record))
    server = serve(*flags, "--kv-tokens", "512", "--max-batch", "4", "--simulated-scale", "0.1")
    with server.stub() as stub:
        streams = [stub.Generate(pb.GenerateRequest(spec=spec("r" * (10 + 9 * i), 20 + 3 * i))) for i in range(20)]
        for i, stream in enumerate(streams):
            assert list(stream)[-1].chunk.finish.output_tokens == 20 + 3 * i
    assert server.terminate() == 0
    assert json.loads(record.read_text().splitlines()[0])["params"]["tail"] == 0.25
    report = replay(record)
    # Twenty ends: hazards were made of counts twice, so learning is in the record, too.
    assert (report.policy, report.first_difference) == ("adaptive", None)
    assert report.identical == report.turns > 50
