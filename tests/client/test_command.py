"""`skipjoin generate` as a person uses it: streams to standard output, exit codes, Ctrl-C cancels."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from skipjoin.cli import main
from skipjoin.core import errors as e
from skipjoin.core.job import FinishReason
from skipjoin.core.view import Chunk, Finish


def test_the_answer_goes_to_standard_output(door: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "hello", "--target", door.start(), "--max-new-tokens", "6", "--stop", "END"]) == 0
    assert capsys.readouterr().out == " 0 1 2 3 4 5\n"
    spec = door.calls[0][1].spec
    assert spec.text == "hello"
    assert {field.name for field, _ in spec.sampling.ListFields()} == {"max_new_tokens", "stop"}


def test_chat_sends_messages(door: Any) -> None:
    assert main(["generate", "hello", "--target", door.start(), "--system", "be brief", "--timeout", "5"]) == 0
    spec = door.calls[0][1].spec
    assert [(m.role, m.content) for m in spec.messages.messages] == [("system", "be brief"), ("user", "hello")]
    assert spec.timeout.ToSeconds() == 5
    assert not spec.HasField("sampling")


def test_a_priority_goes_with_the_prompt(door: Any, capsys: pytest.CaptureFixture[str]) -> None:
    target = door.start()
    assert main(["generate", "hello", "--target", target, "--priority", "-7"]) == 0
    assert door.calls[0][1].spec.priority == -7
    assert main(["generate", "hello", "--target", target, "--priority", "-101"]) == 2
    said = capsys.readouterr().err
    assert "priority" in said and "-100..100" in said
    assert door.count("Generate") == 1


def test_json_lines_hold_tokens_and_the_end(door: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "hello", "--target", door.start(), "--json", "--events"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"event": "started", "level": 1}
    assert [line["token_ids"] for line in lines[1:]] == [[0], [1], [2], [3], [4], [5], []]
    assert lines[-1]["finish"] == {"reason": "length", "output_tokens": 6}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (e.Overloaded("Full.", retry_after_s=2.0), 5),
        (e.InvalidInput("Bad.", field="prompt"), 2),
        (e.NotFound("None."), 3),
        (e.Unauthenticated("Who?"), 4),
    ],
)
def test_errors_are_sentences_and_exit_codes(
    door: Any, error: e.SkipjoinError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    door.fail["Generate"] = [error]
    assert main(["generate", "x", "--target", door.start()]) == code
    assert error.message in capsys.readouterr().err


def test_a_failed_job_is_a_failed_command(door: Any, capsys: pytest.CaptureFixture[str]) -> None:
    door.spoil = lambda chunk: Chunk(0, finish=Finish(FinishReason.FAILED, 0, ("JOB_FAILED", "Not finite.")))
    assert main(["generate", "x", "--target", door.start()]) == 1
    assert "Not finite." in capsys.readouterr().err


def test_bad_flags_name_the_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "x", "--temperature", "-1"]) == 2
    assert "temperature" in capsys.readouterr().err
    assert main(["generate", "x", "--target", "nowhere"]) == 2
    assert main(["generate", "x", "--token-file", "/does/not/exist"]) == 2
    assert "token-file" in capsys.readouterr().err


def run(target: str, *flags: str, **popen: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "import sys; from skipjoin.cli import main; sys.exit(main())"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([*command, "generate", *flags, "--target", target], env=env, **popen)


def test_the_prompt_may_come_from_standard_input_and_must_be_utf8(door: Any) -> None:
    target = door.start()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with run(target, **pipes) as good:
        out, _ = good.communicate("grüß\n".encode(), timeout=60)
    assert (good.returncode, out) == (0, b" 0 1 2 3 4 5\n")
    assert door.calls[0][1].spec.text == "grüß\n"
    with run(target, "-", **pipes) as bad:
        _, err = bad.communicate(b"gr\xfc\xdf", timeout=60)
    assert bad.returncode == 2
    assert b"byte 2" in err
    assert len(door.calls) == 1


def test_ctrl_c_cancels_the_job(door: Any) -> None:
    door.release = 2
    with run(door.start(), "x", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4) == b" 0 1"
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
        assert process.wait(60) == 130
    (job,) = door.jobs.values()
    assert job.finish is not None
    assert job.finish.reason is FinishReason.CANCELLED
    assert b"cancelled" in err


def test_ctrl_c_before_the_answer_cancels_the_job_too(door: Any) -> None:
    door.fail["Generate"] = [lambda context: asked_and_silent(door, context)]
    with run(door.start(), "x", stderr=subprocess.PIPE) as process:
        with door.changed:
            assert door.changed.wait_for(lambda: door.count("Generate") == 1, 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    (job,) = door.jobs.values()
    assert job.finish is not None


def test_without_a_server_it_says_so_and_ctrl_c_ends_it_soon() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{free.getsockname()[1]}"  # bound, and nobody listens
        with run(target, "x", stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            said = process.stderr.readline().decode()
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read().decode()
            assert process.wait(60) == 130
    assert "No server answers" in said and "Trying again" in said
    assert [line for line in rest.splitlines() if not line.startswith("skipjoin: ")] == []


def asked_and_silent(door: Any, context: Any) -> None:
    """The call has come; its answer never does."""
    with door.changed:
        door.changed.notify_all()
        door.changed.wait_for(lambda: not context.is_active(), 60)


def test_a_reader_that_goes_away_cancels_the_job(door: Any) -> None:
    door.release = 1
    with run(door.start(), "x", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b" 0"
        process.stdout.close()
        door.let_go()
        process.wait(60)
    assert process.returncode == 141
    assert door.count("Cancel") == 1
