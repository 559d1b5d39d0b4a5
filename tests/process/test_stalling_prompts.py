"""Prompts made to stall the door: long ones, ones that are hard to encode, special tokens by the
thousand, a template that takes all time or memory.

Each gets a typed answer, and a client in another process never waits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from bystander import Ask, bystander, door_memory
from http_client import HTTP, Answer, call, http_port
from process_server import Server

from skipjoin.model.presets import init_model
from skipjoin.proto import job_pool_pb2 as pb

TEMPLATE = (
    "{% set what = messages[0].content %}"
    "{% if what == 'long' %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}"
    "{% if what == 'large' %}{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% "
    "endfor %}{% endif %}"
    "{% if what == 'slice' %}{{ messages | slice(2000000000) | list | length }}{% endif %}"
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + eos_token }}{% endfor %}"
)
MB = 10**6
TEXTS = {
    "words": "so it goes on and on " * (3 * MB // 21),
    "one character": "a" * (3 * MB),
    "spaces": " " * (2 * MB) + "x",
    "line feeds": "\n" * (2 * MB),
    "emoji": "\U0001f600" * (MB // 4),
    "special tokens": "<|end|>" * (MB // 7),
}


@pytest.fixture
def server(tmp_path: Path, serve: Callable[..., Server]) -> Server:
    folder = tmp_path / "model"
    init_model(folder, "tiny", seed=7)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": TEMPLATE}))
    return serve("--model", str(folder), "--template-time-s", "0.7", *HTTP)


def chat(server: Server, *messages: str, role: str = "user") -> Answer:
    body = {"messages": [{"role": role, "content": text} for text in messages], "max_tokens": 1}
    return call(http_port(server), "/v1/chat/completions", body)


@pytest.mark.alone
@pytest.mark.parametrize("ask", ["health", "submit"])
def test_no_text_stalls_the_door(server: Server, ask: Ask) -> None:
    port = http_port(server)
    assert chat(server, "hi").status == 200
    with bystander(server, ask) as seen, door_memory(server.pid) as memory, server.stub() as stub:
        for name, text in TEXTS.items():
            answer = call(port, "/v1/completions", {"prompt": text, "max_tokens": 1})
            assert (answer.status, answer.json["error"]["code"]) == (400, "context_length_exceeded"), name
            assert "maximum context length" in answer.json["error"]["message"]
            with pytest.raises(grpc.RpcError) as refused:
                stub.Submit(pb.SubmitRequest(spec=pb.JobSpec(text=text)), timeout=60)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with ThreadPoolExecutor(4) as clients:
            asked = [*clients.map(lambda text: chat(server, text), TEXTS.values())]
            asked += [chat(server, *["many <|end|> " * 60] * 4096)]
        assert {answer.status for answer in asked} <= {400, 429}
    assert seen.failures == 0 and seen.longest_s <= 0.5 + seen.late_s, seen
    assert memory.grown_bytes <= 200 * 2**20, memory


@pytest.mark.alone
def test_no_template_stalls_the_door(server: Server) -> None:
    assert chat(server, "hi").status == 200
    with bystander(server, "completion") as seen, door_memory(server.pid) as memory:
        with ThreadPoolExecutor(6) as clients:
            asked = [*clients.map(lambda what: chat(server, what), ["long", "large", "slice", "long", "hi", "large"])]
        for answer, what in zip(asked, ["long", "large", "slice", "long", "hi", "large"], strict=True):
            assert answer.status == (200 if what == "hi" else 400), (what, answer.body)
            if what != "hi":
                assert "takes too much" in answer.json["error"]["message"]
        assert chat(server, "hi").status == 200
    assert seen.failures == 0 and seen.longest_s <= 0.5 + seen.late_s, seen
    assert memory.grown_bytes <= 200 * 2**20, memory
    metrics = call(http_port(server), "/metrics").body.decode()
    assert 'skipjoin_limits_reached_total{limit="template_time_s"} 3.0' in metrics
    assert 'skipjoin_limits_reached_total{limit="template_memory_bytes"} 2.0' in metrics


def test_a_server_whose_template_does_not_compile_says_so_and_takes_text(
    tmp_path: Path, serve: Callable[..., Server]
) -> None:
    folder = tmp_path / "model"
    init_model(folder, "tiny", seed=7)
    (folder / "chat_template.jinja").write_text("{{ messages | shout }}")
    server = serve("--model", str(folder), *HTTP)
    answer = chat(server, "hi")
    assert answer.status == 400
    assert "No filter named 'shout'" in answer.json["error"]["message"]
    assert call(http_port(server), "/v1/completions", {"prompt": "hi", "max_tokens": 1}).status == 200
    assert server.terminate() == 0
    assert "No filter named 'shout'" in server.log.read_text()
