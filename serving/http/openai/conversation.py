"""The messages of a conversation, as OpenAI's clients send them and as a template takes them.

Owns the schemas of a message and of its parts, and the reading of them. A body may hold thousands
of messages and a hundred thousand parts, so they are checked where they lie: pydantic, which
publishes the schemas, would make an object of each and take three times as long. `schema.py` has
the field that they stand in.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, WithJsonSchema

from ....core.view import ChatMessage
from ...door.intake import MAX_MESSAGES
from .rules import Ignored, Only, RequestSchema, Unfit

Empty = Annotated[Any, Only([], {}, "")]
"""What clients send with a message, as they got it in an answer, though it says nothing."""


class TextPart(RequestSchema):
    """A part of a message; parts are joined with a newline."""

    sentence: ClassVar[str] = "{field} must be a part of type text; this server takes no images, sound or files."
    any_null: ClassVar[bool] = True

    type: Annotated[str, WithJsonSchema({"const": "text", "type": "string"})]
    text: str
    cache_control: Ignored = None
    prompt_cache_breakpoint: Ignored = None

    @classmethod
    def fits(cls, value: Any) -> bool:
        """Whether it is a part with text."""
        return isinstance(value, dict) and value.get("type") == "text" and isinstance(value.get("text"), str)


class Message(RequestSchema):
    """One turn of a conversation, as a client writes it or got it in an answer."""

    sentence: ClassVar[str] = "{field} must be an object with role and content."

    role: str = Field(description="system, developer (the same), user or assistant")
    content: str | list[TextPart] | None = Field(
        None, description="May be null where role is assistant: it is empty then"
    )
    name: str | None = Field(None, description="Tells speakers of one role apart, where the template reads it")
    annotations: Empty = None
    audio: Empty = None
    function_call: Empty = None
    reasoning: Empty = None
    reasoning_content: Empty = None
    refusal: Empty = None
    tool_call_id: Empty = None
    tool_calls: Empty = None

    @classmethod
    def fits(cls, value: Any) -> bool:
        """Whether it is a message at all."""
        return isinstance(value, dict) and isinstance(value.get("role"), str)


Messages = Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]


def conversation(value: Any) -> tuple[ChatMessage, ...]:
    """The turns of a list of messages. Raises Unfit naming what is not one."""
    if not isinstance(value, list) or not value:
        raise Unfit("{field} must be a list with at least one message.")
    if len(value) > MAX_MESSAGES:
        raise Unfit(f"A conversation cannot have {len(value)} messages.", limit=f"1..{MAX_MESSAGES}")
    return tuple(_turn(message, number) for number, message in enumerate(value))


def _turn(message: Any, number: int) -> ChatMessage:
    Message.check(message, number)
    role, content, name = message["role"], message.get("content"), message.get("name")
    if isinstance(content, list):
        for part_number, part in enumerate(content):
            TextPart.check(part, number, "content", part_number)
        # A line each, as templates that take no parts are fed elsewhere too.
        content = "\n".join([part["text"] for part in content])
    if content is None and role == "assistant":
        content = ""
    if not isinstance(content, str):
        raise Unfit("{field} must be text.", number, "content")
    if name is not None and not isinstance(name, str):
        raise Unfit("{field} must be text.", number, "name")
    return ChatMessage("system" if role == "developer" else role, content, name)
