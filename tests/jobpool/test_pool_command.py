"""`skipjoin pool check` and `export`: beside an open pool, on every format, and on damaged files;
they change nothing.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from job_pools import end, entry, job_id, logged, new_job, token_at

from skipjoin import cli
from skipjoin.core.logprobs import TokenLogprobs
from skipjoin.core.pool import LogBatch
from skipjoin.jobpool.schema import VERSION
from skipjoin.jobpool.sqlite import SqliteJobPool

GOLDEN = Path(__file__).parents[1] / "golden" / "formats"


def _made(path: Path) -> SqliteJobPool:
    pool = SqliteJobPool(path)
    epoch = pool.open_epoch("a")
    pool.submit([new_job(n, request_id=f"r{n}", prompt=range(300), logprobs=1 if n == 1 else None) for n in range(8)])
    pool.claim(epoch, 6)
    for n in range(6):
        logged(pool, epoch, n, [600, 3])
    beside = (TokenLogprobs(-0.5, ((7, -0.5),)),)
    pool.commit(epoch, LogBatch((entry(1, 603, 1, beside),), (end(0), end(1))))
    return pool


def _check(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = cli.main(["pool", "check", str(path), "--json"])
    return code, json.loads(capsys.readouterr().out)


def _export(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]]]:
    code = cli.main(["pool", "export", str(path)])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_beside_an_open_pool(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = _made(path)
    before = path.read_bytes(), path.with_name(path.name + "-wal").read_bytes()
    code, report = _check(path, capsys)
    assert (code, report["sound"], report["faults"], report["format"]) == (0, True, [], VERSION)
    assert report["rows"] == {"job": 8, "prompt": 8, "piece": 8, "turn": 4}
    assert {name: count for name, count in report["states"].items() if count} == {
        "accepted": 2,
        "claimed": 4,
        "succeeded": 2,
    }
    code, lines = _export(path, capsys)
    assert code == 0
    for number, line in enumerate(lines):
        length = 0 if number > 5 else 604 if number == 1 else 603
        assert (line["job_id"], line["request_id"], line["damaged"]) == (job_id(number), f"r{number}", [])
        assert line["prompt"] == list(range(300))
        assert line["tokens"] == [token_at(number, at) for at in range(length)]
        assert line["sampling"]["seed"] == number
    assert [line["state"] for line in lines] == ["succeeded"] * 2 + ["claimed"] * 4 + ["accepted"] * 2
    assert lines[1]["logprobs"][602:] == [None, {"logprob": -0.5, "top": [[7, -0.5]]}]
    assert (path.read_bytes(), path.with_name(path.name + "-wal").read_bytes()) == before
    logged(pool, 1, 2, [1])
    pool.close()


def test_a_table_for_a_person(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _made(path).close()
    assert cli.main(["pool", "check", str(path)]) == 0
    said = capsys.readouterr().out
    assert "The pool is sound." in said
    assert "jobs claimed" in said


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_every_format(path: Path, version: int, capsys: pytest.CaptureFixture[str]) -> None:
    connection = sqlite3.connect(path)
    connection.executescript((GOLDEN / f"pool-format-{version}.sql").read_text(encoding="utf-8"))
    connection.close()
    before = path.read_bytes()
    code, report = _check(path, capsys)
    assert (code, report["faults"], report["format"]) == (0, [], version)
    assert report["states"] == {"accepted": 2, "claimed": 4, "succeeded": 2, "failed": 1, "cancelled": 1, "expired": 2}
    code, lines = _export(path, capsys)
    assert code == 0
    assert [line["damaged"] for line in lines] == [[]] * 12
    assert [len(line["tokens"]) for line in lines] == [3, 2, 0, 0, 0, 0, 5, 520, 0, 0, 0, 0]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "fault", "parts"),
    [
        (
            "UPDATE prompt SET tokens = zeroblob(1200) WHERE seq = 3",
            "rows of prompt are not as they were written",
            ["prompt"],
        ),
        ("UPDATE job SET tenant = 'red' WHERE seq = 3", "rows of job are not as they were written", ["job"]),
        (
            "UPDATE piece SET tokens = zeroblob(2400) WHERE seq = 3",
            "rows of piece are not as they were written",
            ["tokens"],
        ),
        ("DELETE FROM piece WHERE seq = 3", "jobs have another number of tokens than was stored", ["tokens"]),
        ("DELETE FROM prompt WHERE seq = 3", "jobs have no prompt", ["prompt"]),
        (
            "UPDATE turn SET counts = zeroblob(length(counts)) WHERE id = 4",
            "rows of turn are not as they were written",
            [],
        ),
        ("INSERT INTO prompt VALUES (99, x'00000000', 0)", "rows of prompt belong to no job", []),
        ("UPDATE job SET state = 9 WHERE seq = 3", "jobs have a state that there is not", ["job"]),
    ],
)
def test_faults_are_found_and_the_others_saved(
    path: Path, capsys: pytest.CaptureFixture[str], change: str, fault: str, parts: list[str]
) -> None:
    _made(path).close()
    connection = sqlite3.connect(path)
    connection.execute(change)
    connection.commit()
    connection.close()
    code, report = _check(path, capsys)
    assert (code, report["sound"]) == (1, False)
    assert fault in [one["fault"] for one in report["faults"]], report
    code, lines = _export(path, capsys)
    assert code == (1 if parts else 0)
    assert [line["damaged"] for line in lines] == [[], [], parts, *[[]] * 5]
    assert [line["tokens"][:1] for line in lines if not line["damaged"] and line["state"] != "accepted"]


def test_pages_that_cannot_be_read_are_passed_over(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = SqliteJobPool(path)
    pool.submit([new_job(n, prompt=range(500)) for n in range(60)])
    pool.close()
    connection = sqlite3.connect(path)
    page = (
        connection.execute(
            "SELECT pageno FROM dbstat WHERE name = 'job' AND pagetype = 'leaf' LIMIT 1 OFFSET 1"
        ).fetchone()
        if _has_dbstat(connection)
        else None
    )
    connection.close()
    if page is None:
        pytest.skip("this SQLite cannot say where its pages lie")
    with path.open("r+b") as file:
        file.seek((page[0] - 1) * 4096)
        file.write(b"\xa5" * 4096)
    code, report = _check(path, capsys)
    assert code == 1
    assert "places of job cannot be read" in [one["fault"] for one in report["faults"]]
    code, lines = _export(path, capsys)
    assert code == 1
    assert 30 < len(lines) < 60
    assert all(line["prompt"] == list(range(500)) for line in lines)


def _has_dbstat(connection: sqlite3.Connection) -> bool:
    return ("ENABLE_DBSTAT_VTAB",) in connection.execute("PRAGMA compile_options").fetchall()


def test_after_a_crash_the_log_is_read_too_and_stays(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = _made(path)
    crashed = tmp_path / "crashed" / path.name
    crashed.parent.mkdir()
    for name in ("", "-wal"):  # the index goes with the machine
        shutil.copy(path.with_name(path.name + name), crashed.with_name(path.name + name))
    pool.close()
    wal = crashed.with_name(crashed.name + "-wal")
    before = crashed.read_bytes(), wal.read_bytes()
    code, report = _check(crashed, capsys)
    assert (code, report["rows"]["job"]) == (0, 8)
    assert (crashed.read_bytes(), wal.read_bytes()) == before
    assert sorted(one.name for one in crashed.parent.iterdir()) == [crashed.name, wal.name]


def test_to_a_file(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _made(path).close()
    out = tmp_path / "jobs.jsonl"
    assert cli.main(["pool", "export", str(path), "--out", str(out)]) == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 8
    assert out.stat().st_mode & 0o777 == 0o600
    said = capsys.readouterr()
    assert said.out == ""
    assert "8 jobs, 0 of them damaged" in said.err


def test_what_is_no_pool(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    other = path.with_name("other")
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    text = path.with_name("text")
    text.write_text("no database " * 1000)
    for word, place in (("There is no job pool", path), ("another program's", other), ("no job pool", text)):
        assert cli.main(["pool", "check", str(place)]) == 2
        assert word in capsys.readouterr().err
    monkeypatch.setenv("SKIPJOIN_JOB_POOL", f"sqlite:{path}")
    _made(path).close()
    assert cli.main(["pool", "check"]) == 0
    monkeypatch.setenv("SKIPJOIN_JOB_POOL", "memory")
    assert cli.main(["pool", "check"]) == 2
