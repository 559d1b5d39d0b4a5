"""`--json` means one thing in every command: JSON on standard output, a document or a line each,
and nothing else there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_server import Server

from skipjoin import cli

ONE_ROUND = ("--repeats", "3", "--only", "norm")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("json")).start()
    yield made
    made.stop()


def _run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "skipjoin.cli", *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode in (0, 1), done.stderr  # 1: a bar that this machine does not hold
    return done.stdout


def _parsers(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from _parsers(below, f"{name} {word}")


def test_no_command_needs_a_file_for_it() -> None:
    found = {}
    for command in cli.COMMANDS:
        top = cli.CommandParser(prog=command.name)
        command.load().configure(top)
        for name, parser in _parsers(top, command.name):
            action = parser._option_string_actions.get("--json")
            if action is not None:
                found[name] = action.nargs == 0 or (action.nargs == "?" and action.const == "-")
    assert len(found) > 12 and all(found.values()), found


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "--trace", "shape:azure-conv", "--requests", "20"),
        ("profile", "show"),
        ("profile", "show", "opt-13b-a100"),
        ("bench", "turn", "--only", "turn", "--turns", "20", "--batch", "8", "--live", "8", "--queued", "10"),
        ("bench", "pool", "--seconds", "0.1"),
    ],
    ids=" ".join,
)
def test_a_document_and_nothing_else(words: tuple[str, ...]) -> None:
    assert json.loads(_run(*words, "--json"))
    if words[0] == "simulate":
        assert json.loads(_run(*words, "--json", "-"))


def test_a_file_takes_the_document_and_the_tables_stay(tmp_path: Path) -> None:
    words = ("bench", "pool", "--seconds", "0.1", "--json", str(tmp_path / "pool.json"))
    shown = _run(*words)
    assert json.loads((tmp_path / "pool.json").read_text())["pools"] and "memory" in shown
    with pytest.raises(json.JSONDecodeError):
        json.loads(shown)


def test_lines_of_a_bench_that_prints_as_it_goes() -> None:
    lines = _run("bench", "kernels", *ONE_ROUND, "--device", "cpu", "--json").splitlines()
    assert len(lines) > 2 and all(isinstance(json.loads(line), dict) for line in lines)


@pytest.mark.parametrize("words", ["status", "jobs", "queues", "kv", "executors"])
def test_the_operators_words(server: Server, words: str) -> None:
    assert isinstance(json.loads(_run("admin", words, "--json", "--socket", str(server.admin))), dict)


def test_a_server_that_is_measured_and_asked(server: Server) -> None:
    at = f"127.0.0.1:{server.port}"
    asked = ("--trace", "shape:azure-conv", "--rate", "50", "--requests", "5", "--max-tokens", "400")
    study = json.loads(_run("bench", "run", "--url", at, *asked, "--json"))
    assert study["results"]
    lines = _run("generate", "--target", at, "hello", "--max-new-tokens", "3", "--json", "--events").splitlines()
    assert json.loads(lines[-1])["finish"]["output_tokens"] <= 3
    job = json.loads(lines[-1])["job_id"]
    for words in (("job", job), ("policy", "fcfs")):
        assert json.loads(_run("admin", *words, "--json", "--socket", str(server.admin)))
