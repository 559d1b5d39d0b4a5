"""The document of the HTTP door has OpenAPI's form and the fields of the checks and the docs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from skipjoin.core.errors import InvalidInput, by_code
from skipjoin.core.sampling import SamplingParams
from skipjoin.proto.status import http_status
from skipjoin.serving.http.openai.conversation import Message, TextPart, conversation
from skipjoin.serving.http.openai.request import chat_asked, completion_asked
from skipjoin.serving.http.openai.rules import Unfit
from skipjoin.serving.http.openai.schema import ChatCompletionRequest, CompletionRequest, StreamOptions
from skipjoin.serving.http.openapi import document

WIRE = Path(__file__).parents[2] / "docs" / "wire.md"
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
TYPES = {"null", "boolean", "object", "array", "number", "string", "integer"}
SCHEMAS: tuple[type[BaseModel], ...] = (CompletionRequest, ChatCompletionRequest, StreamOptions, Message, TextPart)


@pytest.fixture(scope="module")
def doc() -> dict[str, Any]:
    """As a client reads it."""
    read: dict[str, Any] = json.loads(json.dumps(document(), allow_nan=False))
    return read


def _nodes(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for name, inner in value.items():
            if name not in ("enum", "default"):
                yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


def test_the_document_has_the_form_of_openapi(doc: dict[str, Any]) -> None:
    assert set(doc) == {"openapi", "info", "security", "paths", "components"}
    assert re.fullmatch(r"3\.1\.\d+", doc["openapi"])
    assert {"title", "version"} <= set(doc["info"])
    names = set()
    for path, item in doc["paths"].items():
        assert path.startswith("/") and item and set(item) <= METHODS
        for operation in item.values():
            assert operation["responses"] and "summary" in operation
            names.add(operation["operationId"])
            for status, response in operation["responses"].items():
                assert re.fullmatch(r"[1-5]\d\d", status) and response["description"]
            for parameter in operation.get("parameters", ()):
                assert parameter["in"] in {"query", "header", "path", "cookie"} and "schema" in parameter
                assert parameter["required"] is True if parameter["in"] == "path" else True
            in_path = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert in_path == set(re.findall(r"\{(\w+)\}", path))
            for scheme in operation.get("security", doc["security"]):
                assert set(scheme) <= set(doc["components"]["securitySchemes"])
    assert len(names) == sum(len(item) for item in doc["paths"].values())


def test_every_reference_leads_to_a_schema_and_every_schema_is_used(doc: dict[str, Any]) -> None:
    schemas = doc["components"]["schemas"]
    used = {node["$ref"] for node in _nodes(doc) if "$ref" in node}
    assert used == {f"#/components/schemas/{name}" for name in schemas}
    for node in _nodes(schemas):
        if isinstance(node.get("type"), str):
            assert node["type"] in TYPES, node
        if "required" in node and "properties" in node:
            assert set(node["required"]) <= set(node["properties"])


def test_every_answer_that_is_an_error_has_the_one_shape(doc: dict[str, Any]) -> None:
    for item in doc["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400 and operation["operationId"] != "health":
                    assert response["content"] == {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}
                    }


def test_every_status_that_an_error_of_ours_has_is_listed(doc: dict[str, Any]) -> None:
    listed = {int(status) for status in doc["paths"]["/v1/completions"]["post"]["responses"]}
    assert listed >= {http_status(error) for error in by_code().values()} - {501}  # which is of gRPC alone


def test_only_what_says_nothing_of_the_work_needs_no_token(doc: dict[str, Any]) -> None:
    public = {path for path, item in doc["paths"].items() if any(op.get("security") == [] for op in item.values())}
    assert public == {"/health", "/openapi.json"}


def test_docs_have_every_field(doc: dict[str, Any]) -> None:
    text = WIRE.read_text(encoding="utf-8")
    table = text.partition("### Fields\n")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    written = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    fields = {name for schema in SCHEMAS for name in schema.model_fields}
    assert fields - written == set()
    assert written - fields == set()


BASE: dict[str, dict[str, Any]] = {
    "CompletionRequest": {"prompt": "x"},
    "ChatCompletionRequest": {"messages": [{"role": "user", "content": "x"}]},
}
ASK = {"CompletionRequest": completion_asked, "ChatCompletionRequest": chat_asked}


@pytest.mark.parametrize("name", BASE)
def test_a_value_that_the_document_lists_is_taken(doc: dict[str, Any], name: str) -> None:
    for field, schema in doc["components"]["schemas"][name]["properties"].items():
        for value in schema.get("enum", [None] if "default" in schema else []):
            ASK[name](BASE[name] | {field: value}, SamplingParams(), cancel_on_disconnect=True)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "x"}, {"role": "user"}, {"role": "assistant"}, {"role": 1, "content": "x"},
        {"content": "x"}, "x", None, [],
        {"role": "user", "content": 1}, {"role": "user", "content": []}, {"role": "user", "content": "x", "name": 1},
        {"role": "user", "content": "x", "name": None}, {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "user", "content": [{"type": "text", "text": 1}]},
        {"role": "user", "content": [{"type": "image_url", "text": "x"}]},
        {"role": "user", "content": ["x"]}, {"role": "user", "content": {"type": "text", "text": "x"}},
        {"role": "user", "content": "x", "typo": None},
        {"role": "user", "content": "x", "refusal": ""}, {"role": "user", "content": "x", "refusal": "no"},
        {"role": "user", "content": True},
        {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"a": 1}}]},
        {"role": "user", "content": [{"type": "text", "text": "x", "typo": 1}]},
    ],
)  # fmt: skip
def test_messages_are_checked_as_they_are_declared(message: Any) -> None:
    """They are read without pydantic, for speed, by a schema that is published."""
    try:
        Message.model_validate(message)
        declared = message != {"role": "user"}  # JSON Schema cannot well say that only an assistant may be silent
    except ValidationError:
        declared = False
    try:
        conversation([message])
        read = True
    except Unfit:
        read = False
    assert read is declared


@pytest.mark.parametrize("name", BASE)
def test_a_number_is_taken_up_to_the_bounds_that_the_document_says(doc: dict[str, Any], name: str) -> None:
    bounded = 0
    for field, schema in doc["components"]["schemas"][name]["properties"].items():
        if "maximum" not in schema:
            kinds = {kind.get("type") for kind in schema.get("anyOf", [])}
            assert not kinds & {"number", "integer"}, f"{field} has no bounds"
            continue
        bounded += 1
        base = BASE[name] | ({"logprobs": True} if field == "top_logprobs" else {})
        low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema["maximum"]
        open_low = "exclusiveMinimum" in schema
        taken, refused = [high, low + 1e-9 if open_low else low], [high + 1, low if open_low else low - 1]
        for value in taken:
            ASK[name](base | {field: value}, SamplingParams(), cancel_on_disconnect=True)
        for value in refused:
            with pytest.raises(InvalidInput) as said:
                ASK[name](base | {field: value}, SamplingParams(), cancel_on_disconnect=True)
            assert said.value.field == field and said.value.limit
    assert bounded >= 12
