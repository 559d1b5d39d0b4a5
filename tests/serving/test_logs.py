"""Log lines: their two forms, their level, and what happens to one that comes too often."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from skipjoin.core.clock import ManualClock
from skipjoin.serving.logs import LINES, PERIOD_NS, Repetition, log_to_stderr


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """The root logger as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_a_text_line_is_time_level_name_message(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr()
    logging.getLogger("skipjoin.door").info("jobs: %d", 3)
    said = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO skipjoin\.door jobs: 3\n", said)


def test_a_json_line_has_the_same_keys_and_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("debug", "json")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("skipjoin.door").debug('it "broke"\n', exc_info=True)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    line = json.loads(said)
    assert list(line) == ["time", "level", "name", "message", "exception"]
    assert (line["level"], line["name"], line["message"]) == ("DEBUG", "skipjoin.door", 'it "broke"\n')
    assert line["exception"].endswith("ValueError: two\nlines")


def test_less_than_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("warning")
    logging.getLogger("skipjoin.door").info("no")
    logging.getLogger("skipjoin.door").warning("yes")
    assert capsys.readouterr().err.endswith("WARNING skipjoin.door yes\n")


def test_a_place_that_repeats_itself_is_cut_and_counted_whatever_its_text() -> None:
    clock = ManualClock(5)
    repetition = Repetition(clock)
    written = [repetition.filter(_record(f"call {n} failed")) for n in range(LINES + 30)]
    assert written == [True] * LINES + [False] * 30
    assert repetition.filter(_record("another place", line=2))
    clock.advance(PERIOD_NS)
    after = _record("call %s failed", "x")
    assert repetition.filter(after)
    assert after.getMessage() == "call x failed (30 lines like this one were left out)"
    again = _record("call failed")
    assert repetition.filter(again)
    assert again.getMessage() == "call failed"


def test_json_is_what_both_processes_log() -> None:
    flags = ["--executor", "simulated", "--check", "--log-format", "json", "--job-pool", "memory"]
    flags += ["--listen", "127.0.0.1:0", "--http-listen", ""]
    command = [sys.executable, "-m", "skipjoin.cli", "serve", *flags]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert {line["name"] for line in lines} >= {"skipjoin.door"}
    assert all({"time", "level", "name", "message"} <= set(line) for line in lines)


def _record(text: str, *args: object, line: int = 1) -> logging.LogRecord:
    return logging.LogRecord("x", logging.WARNING, "place.py", line, text, args, None)
