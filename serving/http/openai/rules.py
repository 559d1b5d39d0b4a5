"""How the schemas of requests check a value, and what they say of one that does not fit.

Owns the base of all schemas of requests, the annotations of their fields, and the one sentence that
becomes of pydantic's errors, which a caller never sees. It knows no field; `schema.py` declares
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from ....core.errors import InvalidInput

NOT_HERE = "{field} is not supported by this server; leave it out."
FLAG = "{field} must be true or false."
_UNKNOWN = "There is no field {field!r} here."
_OF_TYPES = {"bool_type": FLAG, "string_type": "{field} must be a string."}
_OTHERWISE = "{field} is not what it must be; see docs/wire.md."
_SHOWN = 40

Ignored = Annotated[Any, WithJsonSchema({"description": "Taken, and without effect."})]


class Unfit(ValueError):
    """A value that does not fit. In `sentence`, {field} is the field as the caller wrote it.

    `inside` leads from the value to what is meant in it. The base gets no text: pydantic would have
    to spell what a caller wrote.
    """

    def __init__(self, sentence: str, *inside: int | str, limit: str | None = None) -> None:
        super().__init__()
        self.sentence = sentence
        self.inside = inside
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Sentence:
    """Annotation: what is said of a value that is not of the type, in place of pydantic's words."""

    sentence: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="sentence", custom_error_message=self.sentence
        )


@dataclass(frozen=True, slots=True)
class FirstFault:
    """Annotation of a list: the first item that does not fit ends the check.

    A caller may send a million of them.
    """

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = cast(core_schema.ListSchema, handler(source))
        schema["fail_fast"] = True
        return schema


@dataclass(frozen=True, slots=True, init=False, eq=False)
class Only:
    """Annotation: the field is taken with one of `values`, which change nothing, or null.

    Of one among flags, another kind of value is told so.

    Each is equal to itself alone: `typing` keeps one of equal annotations, and Only(1) would be
    Only(True).
    """

    values: tuple[Any, ...]
    flag: bool

    def __init__(self, *values: Any, flag: bool = False) -> None:
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "flag", flag)

    def fault(self, value: object) -> str | None:
        """The sentence for a value that is not taken.

        Equal is equal as JSON: 1 and 1.0 are one number, and true is none.
        """
        if value is None or any(_same(value, plain) for plain in self.values):
            return None
        return FLAG if self.flag and not isinstance(value, bool) else NOT_HERE

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": [*self.values, None], "description": "Not supported: taken with a value that changes nothing."}


def _same(value: object, plain: object) -> bool:
    return value == plain and isinstance(value, bool) == isinstance(plain, bool)


class RequestSchema(BaseModel):
    """An object that a caller sends.

    Null is as left out, and no value is turned into another type.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    sentence: ClassVar[str] = "{field} must be an object."
    """What is said of a value that is no such object at all."""
    any_null: ClassVar[bool] = False
    """Whether a field that is not known is taken when it is null."""
    rules: ClassVar[Mapping[str, Only | None]]
    needed: ClassVar[Mapping[str, None]]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Have the names at hand: a body may hold thousands of messages."""
        super().__pydantic_init_subclass__(**kwargs)
        fields = cls.model_fields
        cls.rules = {
            name: next((rule for rule in field.metadata if isinstance(rule, Only)), None)
            for name, field in fields.items()
        }
        cls.needed = {name: None for name, field in fields.items() if field.is_required()}

    @classmethod
    def fits(cls, value: Any) -> bool:
        """Whether the value is such an object."""
        return isinstance(value, dict)

    @classmethod
    def check(cls, value: Any, *inside: int | str) -> None:
        """Raise Unfit for what is no such object, and for its first name that is not taken.

        `inside` leads to the value. pydantic would list every unknown name of a million.
        """
        if not cls.fits(value):
            raise Unfit(cls.sentence, *inside)
        rules = cls.rules
        for name, item in value.items():
            if name not in rules:
                if item is None and cls.any_null:
                    continue
                raise Unfit(_UNKNOWN, *inside, name[:_SHOWN])
            rule = rules[name]
            if rule is not None and (fault := rule.fault(item)) is not None:
                raise Unfit(fault, *inside, name)

    @model_validator(mode="before")
    @classmethod
    def _checked(cls, value: Any) -> Any:
        """What is needed and left out is null, whose sentence is the field's own."""
        cls.check(value)
        return value if cls.needed.keys() <= value.keys() else cls.needed | value

    @classmethod
    def read(cls, body: dict[str, Any]) -> Self:
        """The body as this schema has it.

        Raises InvalidInput naming the field as the caller wrote it.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise _refusal(error.errors(include_url=False, include_input=False)[0]) from None


def _refusal(fault: ErrorDetails) -> InvalidInput:
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, Unfit):
        field = _path(*fault["loc"], *cause.inside)
        return InvalidInput(cause.sentence.format(field=field), field=field, limit=cause.limit)
    sentence = fault["msg"] if fault["type"] == "sentence" else _OF_TYPES.get(fault["type"], _OTHERWISE)
    field = _path(*fault["loc"])
    return InvalidInput(sentence.format(field=field), field=field)


def _path(first: int | str, *others: int | str) -> str:
    """The field as the caller wrote it, such as messages[3].content[0].text."""
    return str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in others)


def unpointed(value: Any) -> Any:
    """A whole number written with a point, such as 16.0, as an int; anything else as it came."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
