"""The document of the HTTP door in the form of OpenAPI 3.1.

Owns which calls it lists, with what headers and statuses. The schemas are the ones that requests
are checked with. `door.py` serves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ... import __version__
from .openai.answer_schema import ChatCompletion, ChatCompletionChunk, Completion, Error, Health, Model, ModelList
from .openai.schema import ChatCompletionRequest, CompletionRequest

_REF = "#/components/schemas/{model}"
_MODELS: tuple[type[BaseModel], ...] = (
    CompletionRequest, ChatCompletionRequest, Completion, ChatCompletion, ChatCompletionChunk,
    Model, ModelList, Health, Error,
)  # fmt: skip
_EVENTS = (
    "Server-sent events: `data: ` and a chunk as JSON, comments while it waits, at last `data: [DONE]`."
    " A stream that breaks off ends with an Error instead."
)
_REFUSALS = {
    "400": "A field out of bounds, or a body that is malformed; NEVER_FITS has the code context_length_exceeded",
    "401": "No token, or one that is not known",
    "403": "A Host that this server does not answer to",
    "404": "No such model",
    "408": "The body did not come in time",
    "409": "The Idempotency-Key exists with another body, or the job pool was taken over",
    "413": "The body is too large",
    "415": "The body is compressed",
    "417": "An Expect that is not understood",
    "429": "Too much is queued or open; Retry-After says when to come back",
    "499": "The job was cancelled",
    "500": "A fault of the server, or of the job",
    "503": "Starting, draining, or without its store; Retry-After says when to come back",
    "504": "The time of the call or of the job is over",
}
_OF_ANY = ("401", "403", "429", "500", "503", "504")


def document() -> dict[str, Any]:
    """The document, as JSON has it."""
    _, schemas = models_json_schema([(model, "validation") for model in _MODELS], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "skipjoin",
            "version": __version__,
            "description": "Completions in OpenAI's form. What the calls promise is in docs/wire.md.",
        },
        "security": [{"token": []}],
        "paths": {
            "/v1/completions": {"post": _generation("completion", CompletionRequest, Completion, Completion)},
            "/v1/chat/completions": {
                "post": _generation("chat", ChatCompletionRequest, ChatCompletion, ChatCompletionChunk)
            },
            "/v1/models": {"get": _look("models", "The model under each of its names", ModelList)},
            "/v1/models/{name}": {"get": _model()},
            "/metrics": {"get": _metrics()},
            "/health": {"get": _health()},
            "/openapi.json": {"get": _itself()},
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Needed where the setting tokens is set."}
            },
        },
    }


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}


def _errors(statuses: Mapping[str, str] | tuple[str, ...]) -> dict[str, Any]:
    return {status: {"description": _REFUSALS[status], "content": _json(Error)} for status in statuses}


def _generation(name: str, asked: type[BaseModel], whole: type[BaseModel], chunk: type[BaseModel]) -> dict[str, Any]:
    events = {"text/event-stream": {"schema": {"$ref": _REF.format(model=chunk.__name__)}}}
    job_id = {
        "X-Skipjoin-Job-Id": {"description": "The job, for gRPC and skipjoin admin", "schema": {"type": "string"}}
    }
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "With it the job outlives the connection, and the same call gets the same answer.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 64},
    }
    return {
        "operationId": name,
        "summary": "Generate, whole or as a stream",
        "parameters": [key],
        "requestBody": {"required": True, "content": _json(asked)},
        "responses": {
            "200": {
                "description": f"The answer whole, or with stream: true as events. {_EVENTS}",
                "headers": job_id,
                "content": _json(whole) | events,
            }
        }
        | _errors(_REFUSALS),
    }


def _look(name: str, summary: str, answer: type[BaseModel], *further: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": _json(answer)}} | _errors((*_OF_ANY, *further)),
    }


def _model() -> dict[str, Any]:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    return _look("model", "The model under one of its names", Model, "404") | {"parameters": [name]}


def _metrics() -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": "metrics",
        "summary": "Metrics for Prometheus",
        "responses": {"200": {"description": "Text, gathered at most once a second", "content": text}}
        | _errors(_OF_ANY),
    }


def _health() -> dict[str, Any]:
    said = {"content": _json(Health)}
    return {
        "operationId": "health",
        "summary": "Whether the server serves",
        "security": [],
        "responses": {"200": {"description": "It does"} | said, "503": {"description": "It does not"} | said}
        | _errors(("403",)),
    }


def _itself() -> dict[str, Any]:
    return {
        "operationId": "openapi",
        "summary": "This document",
        "security": [],
        "responses": {
            "200": {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}}
        }
        | _errors(("403",)),
    }
