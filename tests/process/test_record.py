"""`--record` of a live run replays with identical effects, and a changed record does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from http_client import HTTP, figures, http_port
from process_server import Server, spec

from skipjoin.cost.profiles import load_profile
from skipjoin.cost.schema import Profile, Tables, render_profile
from skipjoin.cost.table import Curve, Grid, TableCostModel
from skipjoin.engine.record import replay
from skipjoin.model.presets import init_model
from skipjoin.proto import job_pool_pb2 as pb

Serve = Callable[..., Server]


def test_a_live_run_replays_and_a_restarted_engine_writes_a_record_of_its_own(serve: Serve, tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"
    flags = ("--policy", "skipjoin", "--record", str(record))
    server = serve(*flags, "--kv-tokens", "512", "--max-batch", "4", "--simulated-scale", "0.2")
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


def _with_tables() -> Profile:
    attention = Grid((1.0, 64.0), (0.0, 4096.0), ((1e4, 1e5), (2e5, 4e6)))
    tables = TableCostModel(
        Curve((1.0, 2048.0), (1e6 / 3, 2e7)), Curve((1.0,), (1e5,)), attention, attention, attention, 1e6
    )
    return replace(load_profile("opt-13b-a100"), tables=Tables(tables, None))


def test_tables_serve_a_correction_is_learned_and_shown_and_the_run_replays(serve: Serve, tmp_path: Path) -> None:
    record, file = tmp_path / "run.jsonl", tmp_path / "tables.json"
    file.write_text(render_profile(_with_tables()))
    flags = ("--profile", str(file), "--record", str(record), "--simulated-scale", "2", *HTTP)
    server = serve(*flags, "--kv-tokens", "1024", "--max-batch", "8")
    port = http_port(server)
    before = dict(figures(port))
    assert before["skipjoin_cost_correction_ratio"] == 1
    assert before["skipjoin_cost_observations"] == 0
    with server.stub() as stub:
        streams = [stub.Generate(pb.GenerateRequest(spec=spec("r" * (10 + 9 * i), 40))) for i in range(16)]
        for stream in streams:
            assert list(stream)[-1].chunk.finish.output_tokens == 40
    after = dict(figures(port))
    assert 1.3 < after["skipjoin_cost_correction_ratio"] <= 2
    assert 0 < after["skipjoin_cost_error_ratio"] < 0.5
    assert after["skipjoin_cost_observations"] == after["skipjoin_iteration_seconds_count"] > 50
    # Slowdowns are against the profile as it is: nobody has the machine to himself twice as fast
    # because it was learned to be slow.
    assert after["skipjoin_worst_slowdown_ratio"] > 1
    assert server.terminate() == 0
    header = json.loads(record.read_text().splitlines()[0])
    assert (header["corrected"], header["cost"]["kind"]) == (True, "tables")
    report = replay(record)
    assert report.first_difference is None
    assert report.identical == report.turns > 50


def test_a_real_model_starts_from_a_roofline_learns_and_replays(serve: Serve, tmp_path: Path) -> None:
    model, record = tmp_path / "model", tmp_path / "run.jsonl"
    init_model(model, "tiny", seed=7)
    flags = ["--model", str(model), "--device", "cpu", "--threads", "1", "--kv-tokens", "1024", "--profile", "roofline"]
    server = serve(*flags, "--record", str(record), *HTTP, simulated=False)
    port = http_port(server)
    with server.stub() as stub:
        streams = [stub.Generate(pb.GenerateRequest(spec=spec("roof" * (1 + i), 80))) for i in range(6)]
        assert sum(list(stream)[-1].chunk.finish.output_tokens for stream in streams) > 100
    shown = dict(figures(port))
    assert shown["skipjoin_cost_observations"] > 50
    # No overheads are in the estimate, and a tiny model is little else.
    assert shown["skipjoin_cost_correction_ratio"] > 1.3
    assert server.terminate() == 0
    report = replay(record)
    assert report.first_difference is None
    assert report.identical == report.turns > 50


def test_the_adaptive_ladder_serves_with_a_dial_and_replays(serve: Serve, tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"
    flags = ("--tail", "0.25", "--record", str(record))  # no --policy: it is the default
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
