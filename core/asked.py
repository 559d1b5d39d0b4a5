"""What a caller asks of one job beside its prompt, as one value from the door to the executor.

Owns `Asked`, its bounds, and how its options are spelled for people. An option is a field that a
caller gives by its own name: every field but `sampling`. Every form of a request holds an `Asked`
whole. These go through `OPTIONS` and know no option by name: the wire (proto/asked), the job pool
(jobpool/job_rows), a record (engine/record_lines), the clients, `skipjoin generate` and
`skipjoin admin`. It knows no wire and no store. CONTRIBUTING.md lists what a new option needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Protocol, TypedDict

from .errors import InvalidInput
from .sampling import SamplingParams

MAX_PRIORITY = 100
DEFAULT_SAMPLING = SamplingParams()


class Spelling(NamedTuple):
    """An option in words.

    `kind`: the type of its value, as a flag reads it.
    `metavar`: its value in the help of `skipjoin generate`.
    `help`: what that help says of it.
    `plural`: several of it, in an error's message.
    `meaning`: what `skipjoin admin job` says behind its value.
    """

    kind: type
    metavar: str
    help: str
    plural: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a job.

    `sampling`: how tokens are chosen and when the job stops. The door sets what a `JobSpec` leaves
    open: from there on the seed and max_new_tokens are set.
    `priority`: -100 to 100, smaller is more urgent. The policy `priority` reads it.
    """

    sampling: SamplingParams = DEFAULT_SAMPLING
    priority: int = field(
        default=0,
        metadata={
            "spelling": Spelling(
                kind=int,
                metavar="N",
                help="smaller is more urgent, where the policy reads it (default: 0)",
                plural="priorities",
                meaning="where 0 is usual and smaller is more urgent",
            )
        },
    )

    def check(self) -> None:
        """Raise InvalidInput for an option out of bounds; sampling checks itself."""
        priority: object = self.priority
        if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) > MAX_PRIORITY:
            raise InvalidInput(
                "priority must be a whole number within bounds; smaller is more urgent.",
                field="priority",
                limit=f"-{MAX_PRIORITY}..{MAX_PRIORITY}",
            )

    def options(self) -> dict[str, Any]:
        """All but sampling, by name."""
        return {name: getattr(self, name) for name in OPTIONS}

    def digested(self) -> tuple[object, ...]:
        """Returns the options for the digest of a body.

        An option with its default adds nothing, so that a body keeps its digest when the server
        learns a new option. The priority is a bare number, as stored digests have it.
        """
        return (self.priority,) if self.priority else ()


class AskedOptions(TypedDict, total=False):
    """The options as keyword arguments of the clients; `Asked` documents them."""

    priority: int


class AskedOptionsEach(TypedDict, total=False):
    """The options as keyword arguments of `LLM.generate`: one value for all prompts, or one for
    each.
    """

    priority: int | Sequence[int]


class Option(NamedTuple):
    """An option's default, and its spelling for people."""

    default: Any
    spelling: Spelling


def _options() -> dict[str, Option]:
    named = {one.name: one for one in fields(Asked) if one.name != "sampling"}
    return {name: Option(one.default, one.metadata["spelling"]) for name, one in named.items()}


OPTIONS: Mapping[str, Option] = _options()
"""Every option by name, in the order of the fields."""
NOTHING_ASKED = Asked()


def check_names(given: Iterable[str]) -> None:
    """Raise TypeError for a name that is no option, as a call with an unknown keyword argument
    does.
    """
    for name in given:
        if name not in OPTIONS:
            raise TypeError(f"{name!r} is no option of a request; there are: {', '.join(OPTIONS)}.")


def options_of_each(count: int, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the options of each of `count` prompts.

    Raises InvalidInput for a list of another length, TypeError for a name that is no option.
    """
    check_names(given)
    each: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, value in given.items():
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        values = list(value) if listed else [value] * count
        if len(values) != count:
            plural = OPTIONS[name].spelling.plural
            raise InvalidInput(f"There are {count} prompts and {len(values)} {plural}.", field=name)
        for options, one in zip(each, values, strict=True):
            options[name] = one
    return each


class _HoldsAsked(Protocol):
    @property
    def asked(self) -> Asked: ...


class ShowsAsked:
    """Gives a value that holds an `asked` its parts as attributes, for users of the SDK."""

    __slots__ = ()

    @property
    def sampling(self: _HoldsAsked) -> SamplingParams:
        """How tokens are chosen."""
        return self.asked.sampling

    @property
    def priority(self: _HoldsAsked) -> int:
        """Smaller is more urgent."""
        return self.asked.priority
