"""The JSON of a request's body.

Owns that bytes become one JSON object within bounded time, whatever numbers, depth or count of
values they spell. It knows no field. `calls.py` reads with it, before the schemas look at the
object.
"""

from __future__ import annotations

import json
import math
from typing import Any

from ....core.errors import InvalidInput, NeverFits

Body = dict[str, Any]

_BESIDE_PROMPT = 2**16
_DIGITS = 40
_MOST_DIGITS = 4300


def read_body(data: bytes | bytearray) -> Body:
    """The JSON object of a request; `check_values` comes first. Raises InvalidInput."""
    try:
        body = json.loads(data.decode("utf-8"), parse_int=_whole_number, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The body is not UTF-8: byte {error.start} is wrong.", field="body") from None
    except RecursionError:
        raise InvalidInput("The body is nested too deeply.", field="body") from None
    except ValueError as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidInput(f"The body is not JSON{where}.", field="body") from None
    if not isinstance(body, dict):
        raise InvalidInput("The body must be a JSON object.", field="body")
    return body


def check_values(data: bytes | bytearray, prompt_tokens: int) -> None:
    """Raise InvalidInput or NeverFits for more values than any request needs.

    That is a prompt of at most `prompt_tokens` tokens, and what is around it. A value costs far
    more than its bytes.
    """
    most = prompt_tokens + _BESIDE_PROMPT
    if max(_marks(data)) <= most:
        return
    # Commas and brackets in text are no values: count again without the strings, unless there are
    # more strings than any request has.
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    strings = bare.count(b'"') // 2
    commas, brackets = _marks(b"".join(bare.split(b'"')[::2])) if strings <= most else (strings, 0)
    if brackets > most:
        raise InvalidInput("The body holds too many lists and objects.", field="body", limit=f"{most} of them")
    if commas > most:
        raise NeverFits(
            f"The maximum context length is {prompt_tokens} tokens, and the body holds more values than such"
            " a prompt has tokens.",
            field="body",
            limit=f"{most} values",
        )


def _marks(data: bytes | bytearray) -> tuple[int, int]:
    """Commas, and opening brackets and braces."""
    size = len(data)
    return size - len(data.translate(None, b",")), size - len(data.translate(None, b"[{"))


def _whole_number(digits: str) -> int | float:
    """The number; one of so many digits that reading it takes long is beyond every bound anyway."""
    if len(digits) <= _DIGITS or len(digits) > _MOST_DIGITS:
        return int(digits)  # Python refuses the longest by itself
    return -math.inf if digits.startswith("-") else math.inf


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
