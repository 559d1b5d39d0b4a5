"""A thousand bodies that no client should send, against a real server: each gets its JSON error or
a completion, and none a 5xx.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator

from http_client import HTTP, call, http_port
from process_server import Server

Serve = Callable[..., Server]
VALUES: tuple[str, ...] = (
    "null", "true", "false", "0", "-0", "1", "-1", "2", "1.5", "-1.5", "1e400", "-1e400", "1e-400", "NaN", "Infinity",
    "-Infinity",
    "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" * 39, "1" * 41, "-" + "9" * 400,
    "1" * 5000, "0.1e1", "1E2",
    "01", "+1", ".5", "1.",
    '""', '"x"', '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\\n"', '"é"', '"\\x"', "'x'", '"' + "a" * 3000 + '"',
    '"none"', '"auto"',
    '"true"', '"1"',
    "[]", "[[]]", "[[[]]]", "[null]", "[true]", "[1]", "[-1]", "[1.0]", "[256]", "[257]", "[1e2]", "[2147483648]",
    "[" + "9" * 30 + "]",
    "[" + "9" * 60 + "]",
    '["x"]', '["x", "y"]', '[""]', '["\\ud800"]', "[{}]", "[1, null]", '[1, "x"]', "[1,]", "[,]", "[" * 500 + "]" * 500,
    "[" * 3000,
    "[1" + ",1" * 5000 + "]",
    "{}", '{"a": 1}', '{"": {}}', '{"\\ud800": 1}', '{"type": "text"}', '{"type": "json_object"}',
    '{"include_usage": true}', '{"include_usage": 1}',
    '{"a": ' * 500 + "1" + "}" * 500, "{1: 2}", '{"a"}', "undefined", "", "\\u0022",
)  # fmt: skip
COMPLETION = (
    "model", "prompt", "max_tokens", "temperature", "top_p", "n", "stream", "stream_options", "logprobs", "echo",
    "stop", "presence_penalty",
    "frequency_penalty", "best_of", "logit_bias", "user", "seed", "suffix", "top_k", "min_p", "repetition_penalty",
    "stop_token_ids",
    "ignore_eos", "priority", "min_tokens", "metadata", "tools", "reasoning_effort", "unknown", "",
)  # fmt: skip
CHAT = (
    "messages", "top_logprobs", "logprobs", "max_completion_tokens", "response_format", "tools", "tool_choice",
    "functions", "function_call",
    "prediction", "modalities", "stream_options", "stream",
)  # fmt: skip
MESSAGES: tuple[str, ...] = (
    '[{"role": %s, "content": "x"}]', '[{"role": "user", "content": %s}]',
    '[{"role": "user", "content": "x", "name": %s}]',
    '[{"role": "user", "content": [%s]}]', '[{"role": "user", "content": [{"type": "text", "text": %s}]}]',
    '[{"role": "user", "content": [{"type": %s, "text": "x"}]}]',
    '[{"role": "assistant", "content": "x", "tool_calls": %s}]',
    '[%s]', '[{"role": "user", "content": "x"}, %s]', '[{"role": "user", "content": "x", %s: 1}]',
)  # fmt: skip
WHOLE: tuple[bytes, ...] = (
    b"", b" ", b"\x00", b"\xff", b"\xef\xbb\xbf{}", b'{"prompt": "\xff"}', b'{"prompt": "\xed\xa0\x80"}',
    '{"prompt": "x"}'.encode("utf-16"),
    '{"prompt": "x"}'.encode("utf-32"), b'{"prompt": "x"} {"prompt": "y"}', b'{"prompt": "x"}x', b'{"prompt": "x",}',
    b'{"prompt" "x"}',
    b"{'prompt': 'x'}",
    b'{"prompt": "x", "prompt": 5}', b'{"prompt": 5, "prompt": "x"}',
    b'{"prompt": "x", "max_tokens": 1, "max_tokens": -1}', b"[]", b"null",
    b"1", b'"x"',
    b'{"prompt": "x\n"}', b'{"prompt": "x\x00"}', b'{"prompt": "\\"}', b'{"a":' * 30_000, b"[" * 60_000,
    b'{"prompt": "' + b"\\u" * 1000 + b'"}',
    b"prompt=x", b"<xml/>", b'{"prompt": "x"}' + b" " * 50_000,
    b"{" + b",".join(b'"k%d": 1' % n for n in range(5000)) + b"}",
)  # fmt: skip


def _bodies() -> Iterator[tuple[str, bytes]]:
    for body in WHOLE:
        yield "/v1/completions", body
        yield "/v1/chat/completions", body
    chosen = random.Random(7)
    for name in COMPLETION:
        for value in chosen.sample(VALUES, 24) if name != "prompt" else VALUES:
            given = "" if name == "prompt" else '"prompt": "x", '
            limit = "" if name == "max_tokens" else ', "max_tokens": 1'
            yield "/v1/completions", f'{{{given}"{name}": {value}{limit}}}'.encode("utf-8", "surrogatepass")
    hello = '"messages": [{"role": "user", "content": "x"}], '
    for name in CHAT:
        for value in chosen.sample(VALUES, 16) if name != "messages" else VALUES:
            given = "" if name == "messages" else hello
            limit = "" if name == "max_completion_tokens" else ', "max_completion_tokens": 1'
            yield "/v1/chat/completions", f'{{{given}"{name}": {value}{limit}}}'.encode()
    for shape in MESSAGES:
        for value in chosen.sample(VALUES, 16):
            yield "/v1/chat/completions", f'{{"messages": {shape % value}, "max_tokens": 1}}'.encode()


def test_no_body_makes_the_server_fail(serve: Serve) -> None:
    server = serve(*HTTP, "--simulated-scale", "0")
    port = http_port(server)
    seen: Counter[int] = Counter()
    for path, body in _bodies():
        answer = call(port, path, body)
        said = answer.body
        seen[answer.status] += 1
        assert answer.status < 500, (path, body[:200], said[:300])
        if answer.status == 200:
            continue
        error = json.loads(said)["error"]
        assert set(error) >= {"message", "type", "param", "code"}, (body[:200], error)
        assert isinstance(error["message"], str) and 0 < len(error["message"]) < 500, (body[:200], error)
        for words in ("Traceback", "<class", "object at", "skipjoin.", "NoneType", "Error("):
            assert words not in error["message"], (body[:200], error)
    assert sum(seen.values()) > 900, seen
    assert seen[200] > 50, seen
    assert seen[400] > 500, seen
    assert call(port, "/health").status == 200
    assert "ERROR" not in server.log.read_text()
