"""`skipjoin --help` is light, and the command line answers errors, Ctrl-C and closed pipes as it
says.

Runs the real command in processes of its own; commands for the failing cases are made from real
modules put into the table.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from skipjoin import cli
from skipjoin.core.errors import NotFound, Overloaded, SkipjoinError

HEAVY = ["torch", "triton", "numpy", "grpc", "google.protobuf", "pydantic", "prometheus_client", "aiohttp"]
HELP_THEN_MODULES = """
import json, sys
from skipjoin import cli
try:
    cli.main(["--help"])
except SystemExit as stop:
    print(json.dumps([stop.code, sorted(sys.modules)]))
"""


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "skipjoin.cli", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP_THEN_MODULES], capture_output=True, text=True, timeout=60, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert [name for name in HEAVY if name in modules] == []
    assert "skipjoin.core.errors" in modules


def test_the_servers_help_imports_neither_what_computes_nor_what_answers() -> None:
    script = HELP_THEN_MODULES.replace('["--help"]', '["serve", "--help"]')
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    heavy = {"torch", "triton", "grpc", "aiohttp", "huggingface_hub", "tokenizers", "rich"}
    assert (code, heavy & set(modules)) == (0, set())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("sevre", "skipjoin has no command 'sevre'. Is it serve?"),
        ("zzzz", "skipjoin has no command 'zzzz'. `skipjoin --help`"),
        ("serve --max-bach 3", "skipjoin serve has no flag --max-bach. Is it --max-batch?"),
        ("serve --max_batch=3", "Is it --max-batch?"),
        ("serve --max-bat 3", "Is it --max-batch?"),
        ("serve --zzzz", "skipjoin serve has no flag --zzzz. `skipjoin serve --help`"),
        ("serve a b", "skipjoin serve takes no 'b' here"),
        ("serve --max-batch", "argument --max-batch: expected one argument"),
        ("admin sttus", "Is it status?"),
        ("admin --sokcet x status", "Is it --socket?"),
        ("profile measure --modle x", "skipjoin profile measure has no flag --modle. Is it --model?"),
        ("profile import x --out y --format vidr", "'vidr' is none of"),
        ("profile import x --out y --format vidr", "Is it vidur?"),
        ("model init", "arguments are required: DIR"),
        ("generate --tempreature 1 --priority", "Is it --temperature?"),
    ],
)
def test_a_mistyped_word_is_answered_in_one_line_with_what_was_meant(words: str, says: str) -> None:
    done = _run(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and done.stderr.startswith("skipjoin: ") and done.stderr.count("\n") == 1


def test_words_that_only_look_like_flags_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """A prompt may begin with dashes, and all behind `--` is a prompt."""
    parser = cli.CommandParser(prog="p")
    parser.add_argument("prompt")
    assert parser.parse_args(["--is this a prompt?"]).prompt == "--is this a prompt?"
    assert parser.parse_args(["--", "--this"]).prompt == "--this"
    with pytest.raises(SystemExit):
        parser.parse_args(["--this"])
    assert "p has no flag --this" in capsys.readouterr().err


def test_package_imports_nothing_at_all() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, skipjoin; print([m for m in sys.modules if m.startswith('skipjoin.')])"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_lazy_names() -> None:
    import skipjoin
    from skipjoin.core.sampling import SamplingParams

    assert skipjoin.SamplingParams is SamplingParams
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        skipjoin.Nothing  # noqa: B018


def test_type_checkers_see_the_lazy_names(checkout: Path) -> None:
    import skipjoin

    stub = ast.parse((checkout / "__init__.pyi").read_text())
    imported = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported | {"__version__"} == set(skipjoin.__all__)


def test_version_and_unknown_command() -> None:
    from skipjoin import __version__

    assert _run("--version").stdout == f"skipjoin {__version__}\n"
    for words in (["nonsense"], [], ["--nonsense"]):
        done = _run(*words)
        assert done.returncode == 2
        assert done.stderr.startswith("skipjoin: ") and done.stderr.count("\n") == 1
        assert done.stdout == ""


@pytest.mark.parametrize("command", [c for c in cli.COMMANDS if c.exists], ids=lambda c: c.name)
def test_every_command_explains_itself(command: cli.Command) -> None:
    module = command.load()
    parser = argparse.ArgumentParser()
    module.configure(parser)
    assert callable(module.run)
    done = _run(command.name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: skipjoin {command.name}")
    assert command.name in _run("--help").stdout


def test_every_command_module_is_in_the_table(checkout: Path) -> None:
    modules = {f"{path.parent.name}.command" for path in checkout.glob("[a-z]*/command.py")}
    assert modules <= {command.module for command in cli.COMMANDS}


def _command_that(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def configure(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--flag", action="store_true")

    def run(args: argparse.Namespace) -> int:
        assert args.flag
        raise error

    module = types.ModuleType("skipjoin.planted")
    vars(module).update(configure=configure, run=run)
    monkeypatch.setitem(sys.modules, "skipjoin.planted", module)
    monkeypatch.setattr(cli.Command, "exists", property(lambda self: True))
    monkeypatch.setattr(cli, "COMMANDS", (cli.Command("planted", "planted", "fails"),))


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (NotFound("No job with this id.", field="job_id"), 3, "skipjoin: No job with this id. (field: job_id)\n"),
        (Overloaded("Try later.", retry_after_s=1.0), 5, "skipjoin: Try later.\n"),
        (SkipjoinError("It broke."), 1, "skipjoin: It broke.\n"),
        (KeyboardInterrupt(), 130, "skipjoin: interrupted\n"),
    ],
)
def test_error_becomes_message_and_code(
    error: BaseException,
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _command_that(monkeypatch, error)
    assert cli.main(["planted", "--flag"]) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", says)


def test_our_own_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    _command_that(monkeypatch, ZeroDivisionError("bug"))
    with pytest.raises(ZeroDivisionError):
        cli.main(["planted", "--flag"])


def test_closed_pipe_is_quiet() -> None:
    script = (
        "import sys, types; from skipjoin import cli\n"
        "m = types.ModuleType('skipjoin.planted'); m.configure = lambda parser: None\n"
        "def run(args):\n"
        "    for n in range(100_000): print(n)\n"
        "    return 0\n"
        "m.run = run; sys.modules['skipjoin.planted'] = m\n"
        "cli.Command.exists = True; cli.COMMANDS = (cli.Command('planted', 'planted', ''),)\n"
        "sys.exit(cli.main(['planted']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == cli.READER_GONE
