"""Renders a conversation by the template that comes with a model, in a sandbox.

Owns the jinja environment and its bounds: a template is foreign code, so it gets no attribute of Python's, no large product, no endless range,
and its output has a limit. It does not know tokens; tokenizer calls it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..core.clock import unix_ns
from ..core.errors import InvalidInput, InvalidModel

MAX_TEMPLATE_CHARACTERS = 2**18
MAX_STEPS = 2**20
MAX_PRODUCT = 2**16
MAX_NUMBER = 2**32
_OUTPUT_PER_INPUT = 4
_OUTPUT_BASE = 2**16


class _RefusedByTemplate(Exception):
    """The template called raise_exception."""


class _Environment(ImmutableSandboxedEnvironment):
    """Intercepts the operators that make something large out of something small."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Raises SecurityError for a product that repeats something too often, a large power, and text formatting by %."""
        if operator == "%" and isinstance(left, str | bytes):
            raise SecurityError("text formatting by % is switched off")
        if operator == "**" and not (_is_small(left) and _is_small(right) and right <= 64):
            raise SecurityError("a power is too large")
        if operator == "*":
            repeated = [side for side in (left, right) if isinstance(side, str | bytes | list | tuple)]
            times = [side for side in (left, right) if isinstance(side, int)]
            if repeated and times and len(repeated[0]) * times[0] > MAX_PRODUCT:
                raise SecurityError("a product is too large")
            if not repeated and not (_is_small(left) and _is_small(right)):
                raise SecurityError("a product is too large")
        return super().call_binop(context, operator, left, right)


def _is_small(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= MAX_NUMBER


class ChatTemplate:
    """A compiled template. `special` are the names that templates expect, such as bos_token and eos_token.

    Raises InvalidModel for a template that is too long or does not compile.
    """

    def __init__(self, source: str, special: Mapping[str, str]) -> None:
        if len(source) > MAX_TEMPLATE_CHARACTERS:
            raise InvalidModel(
                "The chat template is too long.", field="chat_template", limit=f"{MAX_TEMPLATE_CHARACTERS} characters"
            )
        environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        for name in ("center", "format", "indent", "wordwrap", "pprint"):
            environment.filters.pop(name)
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.fromtimestamp(unix_ns() / 1e9, UTC).strftime(
            form[:100]
        )
        try:
            self._template = environment.from_string(source)
        except (TemplateError, RecursionError) as error:
            raise InvalidModel("The chat template of the model does not compile.", field="chat_template") from error
        self._special = dict(special)

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The prompt's text, up to where the answer begins.

        Raises InvalidInput when the template refuses the conversation (its message is passed on) or goes beyond its bounds.
        """
        limit = _OUTPUT_BASE + _OUTPUT_PER_INPUT * sum(len(text) for message in messages for text in message.values())
        pieces: list[str] = []
        size = 0
        steps = _Steps()
        try:
            variables = {
                **self._special,
                "messages": [dict(m) for m in messages],
                "add_generation_prompt": True,
                "range": steps.range,
            }
            for piece in self._template.generate(variables):
                size += len(piece)
                if size > limit:
                    raise InvalidInput(
                        "The chat template makes too much text of this conversation.",
                        field="messages",
                        limit=f"{limit} characters",
                    )
                pieces.append(piece)
        except _RefusedByTemplate as error:
            raise InvalidInput(
                f"The model's chat template refuses the conversation: {str(error)[:300]}", field="messages"
            ) from error
        except InvalidInput:
            raise
        except Exception as error:
            raise InvalidInput(
                "The model's chat template cannot render this conversation.", field="messages"
            ) from error
        return "".join(pieces)


class _Steps:
    """A range() whose total length over one rendering is bounded, nested loops included."""

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def range(self, *bounds: int) -> range:
        steps = range(*bounds)
        self._left -= len(steps)
        if self._left < 0:
            raise SecurityError("the template loops too long")
        return steps


def _refuse(message: object) -> None:
    raise _RefusedByTemplate(str(message))


def _to_json(value: Any, indent: int | None = None) -> str:
    """As text, not escaped for HTML, which is what templates of models expect."""
    return json.dumps(value, ensure_ascii=False, indent=None if indent is None else min(indent, 8))
