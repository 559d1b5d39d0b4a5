"""A model's chat template, compiled in a sandbox.

Owns the jinja environment that templates are written for, as Transformers gives it to them: loop
controls, `{% generation %}`, `tojson`, `raise_exception`, `strftime_now`, and the names that are
always there (`tools` and `documents` are None). The sandbox keeps a template from Python's
attributes; it does not keep it from taking all the time and memory there is. That is why
template_process runs it, in a process of its own, and nothing else in the product does. It knows
neither tokens nor processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from ...core.clock import unix_ns

_SHOWN = 300


class TemplateFailure(Exception):
    """A template that does not compile, or a conversation that it cannot render or refuses; the
    message is for a person.
    """


class TooMuchText(Exception):
    """The rendered text is longer than was allowed."""


class _Refused(TemplateRuntimeError):
    """The template called raise_exception."""


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}` marks what an assistant said, for training; its
    content is rendered as it stands.
    """

    tags = {"generation"}  # noqa: RUF012 - jinja's own declaration is this one

    def parse(self, parser: Parser) -> nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        block = nodes.CallBlock(self.call_method("_body"), [], [], body)
        block.set_lineno(line)
        return block

    @staticmethod
    def _body(caller: Macro) -> Any:
        return caller()


class _Dict:
    """`dict(...)` and `dict.fromkeys(...)`, without the class itself."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """As Python's."""
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """jinja's namespace, without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        values = dict(*args[1:], **kwargs)
        for name in values:
            _check_name(name)
        Namespace.__init__(args[0], values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace has no attribute {name!r}: names must not begin with an underscore")


class ChatTemplate:
    """A compiled template. `special` are the names that templates expect, such as bos_token and
    eos_token.

    Raises TemplateFailure for a template that does not compile, naming what is missing.
    """

    def __init__(self, source: str, special: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _strftime_now
        environment.globals["dict"] = _Dict()
        environment.globals["namespace"] = _Namespace
        self._special = dict(special)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            where = f", line {line}" if line else ""
            raise TemplateFailure(f"{str(error)[:_SHOWN].rstrip('.')}{where}") from None
        except RecursionError:
            raise TemplateFailure("it is nested too deeply") from None
        except MemoryError:
            raise
        except Exception as error:  # of what it computes of constants alone
            raise TemplateFailure(_said(error)) from error

    def render(self, messages: Sequence[Mapping[str, Any]], most_characters: int) -> str:
        """The prompt's text, up to where the answer begins.

        Raises TemplateFailure when the template refuses the conversation (its message is passed on)
        or fails, TooMuchText for more than `most_characters`.
        """
        pieces: list[str] = []
        try:
            for piece in self._pieces(messages):
                most_characters -= len(piece)
                if most_characters < 0:
                    raise TooMuchText
                pieces.append(piece)
        except _Refused as refused:
            raise TemplateFailure(f"refuses the conversation: {str(refused)[:_SHOWN]}") from None
        except (TooMuchText, MemoryError):
            raise
        except TemplateError as error:
            raise TemplateFailure(f"cannot render this conversation: {str(error)[:_SHOWN]}") from None
        except RecursionError:
            raise TemplateFailure("cannot render this conversation: it calls itself too deeply") from None
        except Exception as error:
            raise TemplateFailure(f"cannot render this conversation: {_said(error)}") from error
        return "".join(pieces)

    def _pieces(self, messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        return self._template.generate(
            {
                **self._special,
                "messages": [dict(message) for message in messages],
                "tools": None,
                "documents": None,
                "add_generation_prompt": True,
            }
        )


def _said(error: Exception) -> str:
    """What an error of Python's says; one of the system would name a path."""
    return "it asks for what it may not have" if isinstance(error, OSError | ImportError) else str(error)[:_SHOWN]


def _refuse(message: object) -> None:
    raise _Refused(str(message))


def _strftime_now(form: str) -> str:
    return datetime.fromtimestamp(unix_ns() / 1e9).strftime(form)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As text, not escaped for HTML, which is what templates of models expect."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
