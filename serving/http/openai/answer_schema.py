"""What OpenAI's calls answer, as schemas.

Owns the shapes that `../openapi.py` publishes. Answers are made by `answer.py` as plain
dictionaries, since a busy door makes thousands of chunks a second; a test holds every kind of them
to these schemas.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FinishReason = Literal["stop", "length"]


class AnswerSchema(BaseModel):
    """An object that the server sends."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Usage(AnswerSchema):
    """Tokens in, out and together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionLogprobs(AnswerSchema):
    """Log-probabilities of a completion, a place in each list for a token."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float | None]]
    text_offset: list[int]


class CompletionChoice(AnswerSchema):
    """The text, or the next of it."""

    index: Literal[0]
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None = Field(description="null until the last chunk")


class Completion(AnswerSchema):
    """A completion, or a chunk of its stream.

    `usage` is in the whole, and in a last chunk without a choice where it was asked for.
    """

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None


class BestToken(AnswerSchema):
    """One of the best tokens at a place."""

    token: str
    logprob: float | None
    bytes: list[int]


class ChatToken(BestToken):
    """The chosen token, with the best beside it."""

    top_logprobs: list[BestToken]


class ChatLogprobs(AnswerSchema):
    """Log-probabilities of a chat."""

    content: list[ChatToken]


class AnswerMessage(AnswerSchema):
    """What the assistant says."""

    role: Literal["assistant"]
    content: str


class ChatChoice(AnswerSchema):
    """The message."""

    index: Literal[0]
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(AnswerSchema):
    """A chat's answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Delta(AnswerSchema):
    """The next of a message; the first one has the role."""

    role: Literal["assistant"] | None = None
    content: str


class ChatChunkChoice(AnswerSchema):
    """The next of the message."""

    index: Literal[0]
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None = Field(description="null until the last chunk")


class ChatCompletionChunk(AnswerSchema):
    """A chunk of a chat's stream.

    `usage` is in a last chunk without a choice, where it was asked for.
    """

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None


class Model(AnswerSchema):
    """A name of the model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int = Field(description="Tokens of a prompt and its answer together, at most")


class ModelList(AnswerSchema):
    """The one model under each of its names."""

    object: Literal["list"]
    data: list[Model]


class Health(AnswerSchema):
    """Whether the server serves."""

    status: Literal["serving", "not serving"]


class ErrorDetail(AnswerSchema):
    """What was wrong, and what to do."""

    message: str
    type: str
    param: str | None = Field(description="The field, as the request writes it")
    code: str = Field(description="A code of docs/wire.md in lower case, or context_length_exceeded")
    reason: str | None = Field(None, description="Our own code, where `code` is OpenAI's")


class Error(AnswerSchema):
    """Every error, also as the last event of a stream that broke off."""

    error: ErrorDetail
