"""Both targets: against a real server, against nobody, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from raw_server import RawServer, answer, events

from skipjoin.bench.load.command import Address, connected
from skipjoin.bench.load.loops import Answered, Asked, Target
from skipjoin.bench.load.openai_target import MAX_LINE_BYTES, OpenAiTarget, first_model
from skipjoin.bench.load.process import OwnServer
from skipjoin.bench.load.skipjoin_target import CALLS_PER_CONNECTION, SkipjoinTarget
from skipjoin.client import AsyncClient, RetryParams
from skipjoin.core.clock import MonotonicClock
from skipjoin.core.errors import InvalidInput, Unavailable
from skipjoin.core.job import JobState

T = TypeVar("T")
CLOCK = MonotonicClock()
KINDS = ("skipjoin", "openai")


def _asked(number: int = 0, tokens: int = 12, prompt: Sequence[int] = (1, 2, 3)) -> Asked:
    return Asked(number, np.array(prompt, dtype=np.int32), tokens)


def _address(kind: str, server: OwnServer) -> Address:
    url = server.address if kind == "skipjoin" else str(server.http_url)
    return Address(kind, url, metrics_url=f"{server.http_url}/metrics")


def _with(address: Address, what: Callable[[Target], Awaitable[T]]) -> T:
    async def go() -> T:
        async with connected(address, CLOCK) as target:
            return await what(target)

    return asyncio.run(go())


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_so_many_tokens(kind: str, server: OwnServer) -> None:
    async def ask(target: Target) -> tuple[list[Answered], int]:
        begun_ns = CLOCK.now_ns()
        return [await target.ask(_asked(tokens=tokens)) for tokens in (1, 40)], begun_ns

    answers, begun_ns = _with(_address(kind, server), ask)
    assert [one.failure for one in answers] == [None, None]
    assert [one.output_tokens for one in answers] == [1, 40]
    for one in answers:
        assert one.first_token_ns is not None and begun_ns < one.first_token_ns <= one.end_ns
    assert answers[1].first_token_ns < answers[1].end_ns  # type: ignore[operator]
    known = 0 if kind == "skipjoin" else None
    assert [one.recomputed_tokens for one in answers] == [known, known]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("asked", "said"),
    [(_asked(tokens=100_000), "leaves room for"), (_asked(prompt=[400]), "no token of this model")],
    ids=["too long", "token"],
)
def test_a_refusal_is_an_answer(kind: str, asked: Asked, said: str, server: OwnServer) -> None:
    refused = _with(_address(kind, server), lambda target: target.ask(asked))
    assert refused.failure is not None and said in refused.failure
    assert (refused.first_token_ns, refused.output_tokens) == (None, 0)


def test_preemptions_and_moves_are_told(server: OwnServer) -> None:
    async def load(target: Target) -> tuple[list[Answered], int]:
        before = await target.bytes_moved()
        # Two long jobs fill the KV; short ones, some of which come while these decode, rank better
        # and need the room.
        asked = [asyncio.create_task(target.ask(_asked(number, 280, range(200)))) for number in range(2)]
        for wave in range(6):
            await asyncio.sleep(0.05)
            asked += [asyncio.create_task(target.ask(_asked(2 + wave, 10, range(60)))) for _ in range(4)]
        answers = await asyncio.gather(*asked)
        after = await target.bytes_moved()
        assert before is not None and after is not None
        return answers, after - before

    answers, moved = _with(_address("skipjoin", server), load)
    assert [one.failure for one in answers] == [None] * 26
    assert sum(one.preemptions or 0 for one in answers) > 0
    assert moved > 0


def test_openai_tells_neither_policy_nor_bytes(server: OwnServer) -> None:
    async def ask(target: Target) -> tuple[object, object]:
        return await target.policy(), await target.bytes_moved()

    assert _with(_address("openai", server), ask) == (None, None)


def test_the_policy_is_told(server: OwnServer) -> None:
    assert _with(_address("skipjoin", server), lambda target: target.policy()) == "skipjoin"


def test_a_connection_takes_so_many_calls_and_is_used_again(server: OwnServer) -> None:
    made: list[AsyncClient] = []

    def connect() -> AsyncClient:
        made.append(AsyncClient(server.address))
        return made[-1]

    async def crowd() -> list[Answered]:
        target = SkipjoinTarget(connect, CLOCK)
        try:
            answers = []
            for count in (3, CALLS_PER_CONNECTION + 1, 3):
                answers += await asyncio.gather(*(target.ask(_asked(tokens=1)) for _ in range(count)))
            assert await target.policy() is None
            assert await target.bytes_moved() is None
            return answers
        finally:
            await target.close()

    answers = asyncio.run(crowd())
    assert {one.failure for one in answers} == {None}
    assert len(made) == 2


async def _until(client: AsyncClient, states: list[JobState], count: int) -> None:
    while len((await client.list(states=states)).jobs) != count:  # noqa: ASYNC110 - the server decides, not this loop
        await asyncio.sleep(0.01)


def test_an_interrupted_run_leaves_no_job_behind(server: OwnServer) -> None:
    async def interrupt(target: Target) -> None:
        tasks = [asyncio.create_task(target.ask(_asked(number, 400))) for number in range(6)]
        async with AsyncClient(server.address) as client, asyncio.timeout(20):
            await _until(client, [JobState.CLAIMED], 6)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await _until(client, [JobState.ACCEPTED, JobState.CLAIMED], 0)
            await _until(client, [JobState.CANCELLED], 6)

    _with(_address("skipjoin", server), interrupt)


def test_nobody_there() -> None:
    async def ask() -> list[str | None]:
        retry = RetryParams(give_up_s=0)
        ours = SkipjoinTarget(lambda: AsyncClient("127.0.0.1:9", retry=retry), CLOCK)
        theirs = OpenAiTarget("http://127.0.0.1:9", "m", CLOCK)
        try:
            return [(await target.ask(_asked())).failure for target in (ours, theirs)]
        finally:
            await ours.close()
            await theirs.close()

    ours, theirs = asyncio.run(ask())
    assert ours is not None and ours.startswith("UNAVAILABLE: ")
    assert theirs == "connection: ClientConnectorError"
    with pytest.raises(Unavailable, match="does not answer"):
        asyncio.run(first_model("http://127.0.0.1:9"))


def _openai(response: bytes, tokens: int = 2) -> Answered:
    async def ask(url: str) -> Answered:
        target = OpenAiTarget(url, "theirs", CLOCK, "secret")
        try:
            return await target.ask(_asked(7, tokens, [5, 6]))
        finally:
            await target.close()

    with RawServer(response) as foreign:
        answered = asyncio.run(ask(foreign.url))
        head, _, body = foreign.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/completions ") and b"\r\nAuthorization: Bearer secret" in head
    sent = json.loads(body)
    assert (sent["model"], sent["prompt"], sent["max_tokens"]) == ("theirs", [5, 6], tokens)
    assert (sent["stream"], sent["ignore_eos"], sent["temperature"]) == (True, True, 0.0)
    return answered


TOKEN = '{"choices": [{"text": "x"}]}'


@pytest.mark.parametrize(
    ("response", "tokens", "failure"),
    [
        (events(TOKEN, TOKEN, "[DONE]"), 2, None),
        (events(TOKEN, '{"choices": [], "usage": {"completion_tokens": 2}}', "[DONE]"), 2, None),
        (events(TOKEN, TOKEN, '{"choices": [], "usage": null}', "[DONE]"), 2, None),
        (events(TOKEN, TOKEN, '{"choices": [], "usage": {"completion_tokens": null}}', "[DONE]"), 2, None),
        (events(TOKEN, TOKEN, '{"choices": [], "usage": 5}', "[DONE]"), 2, None),
        (events(TOKEN, TOKEN, "[1]", "[DONE]", TOKEN), 2, None),
        (answer(f": hello\r\n\r\nevent: x\r\ndata:{TOKEN}\r\n\r\ndata:{TOKEN}"), 2, None),
        (events(TOKEN), 1, "1 of 2 tokens came"),
        (events("[DONE]"), 0, "no token came"),
        (events('{"choices": [], "usage": {"completion_tokens": 2}}'), 2, "no token came"),
        (events(TOKEN, '{"error": {"message": "out of\\nmemory"}}', TOKEN), 1, "out of memory"),
        (events(TOKEN, '{"error": "gone"}'), 1, "gone"),
        (events(TOKEN, '{"choices": ['), 1, "connection: JSONDecodeError"),
        (answer('{"message": "slow down"}', status="429 Too Many Requests"), 0, "HTTP 429: slow down"),
        (answer("<h1>no</h1>" + "x" * 500, status="502 Bad Gateway"), 0, "HTTP 502: <h1>no</h1>" + "x" * 189),
        (answer("[]", status="500 Internal Server Error"), 0, "HTTP 500: []"),
        (answer(b"\xff\xfe", status="500 Internal Server Error"), 0, "connection: UnicodeDecodeError"),
        (b"", 0, "connection: ServerDisconnectedError"),
        (answer("data: " + "x" * (3 * MAX_LINE_BYTES)), 0, "connection: LineTooLong"),
    ],
)
def test_what_other_servers_say(response: bytes, tokens: int, failure: str | None) -> None:
    answered = _openai(response)
    assert answered.output_tokens == tokens
    assert answered.failure == failure
    assert answered.preemptions is None


def test_a_server_that_hangs_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skipjoin.bench.load.command.PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        address = Address("openai", f"http://127.0.0.1:{silent.getsockname()[1]}", model="m")
        assert _with(address, lambda target: target.ask(_asked())).failure == "connection: SocketTimeoutError"


@pytest.mark.parametrize("body", ["{}", '{"data": []}', "[]", '{"data": [{"name": "m"}]}', "null"])
def test_a_server_without_a_model(body: str) -> None:
    with RawServer(answer(body, kind="application/json")) as foreign, pytest.raises(InvalidInput, match="--model"):
        asyncio.run(first_model(foreign.url))


def test_what_is_no_list_of_models() -> None:
    with RawServer(answer("<html>")) as foreign, pytest.raises(Unavailable, match="JSONDecodeError"):
        asyncio.run(first_model(foreign.url))
    with RawServer(answer('{"data": [{"id": "theirs"}]}', kind="application/json")) as foreign:
        assert asyncio.run(first_model(foreign.url, "secret")) == "theirs"
        assert b"Authorization: Bearer secret" in foreign.requests[0]


def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIPJOIN_TOKEN", "from the environment")
    (tmp_path / "token").write_text("from a file\n")
    with RawServer(events(TOKEN, "[DONE]")) as foreign:
        for file in (None, str(tmp_path / "token")):
            address = Address("openai", f"{foreign.url}/v1/", model="m", token_file=file)
            assert _with(address, lambda target: target.ask(_asked(tokens=1))).failure is None
        monkeypatch.setenv("SKIPJOIN_TOKEN", "")
        _with(Address("openai", foreign.url, model="m"), lambda target: target.ask(_asked(tokens=1)))
    heads = [request.partition(b"\r\n\r\n")[0] for request in foreign.requests]
    assert all(head.startswith(b"POST /v1/completions ") for head in heads)
    assert b"Authorization: Bearer from the environment" in heads[0]
    assert b"Authorization: Bearer from a file" in heads[1]
    assert b"Authorization" not in heads[2]


@pytest.mark.parametrize(
    "address",
    [
        Address("skipjoin", "localhost"),
        Address("openai", "localhost:80"),
        Address("skipjoin", "localhost:80", token_file="no-file"),
        Address("skipjoin", "localhost:80", tls_ca="no-file"),
    ],
    ids=["no port", "no scheme", "token", "roots"],
)
def test_a_bad_address_is_refused_before_anything_is_sent(address: Address) -> None:
    with pytest.raises(InvalidInput):
        _with(address, lambda target: pytest.fail("it was dialled"))
