"""The small values that all three protocols share, and their messages: enums, times, sampling,
accounts, log-probabilities.

Owns one pair of functions for each. It knows no job and no event; proto/convert and proto/batches
stand on it. It imports no numpy, for the SDK uses it too. A message that holds nonsense raises
InvalidInput naming the field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ..core.errors import InvalidInput
from ..core.job import FinishReason, JobAccount, JobState, LevelCause
from ..core.logprobs import TokenLogprobs
from ..core.sampling import MAX_STOP_IDS, MAX_STOP_STRINGS, SamplingParams
from ..core.view import JobEventKind
from . import job_pool_pb2 as pb

_E = TypeVar("_E", bound=Enum)
_OPTIONAL = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "max_new_tokens",
    "ignore_eos",
    "logprobs",
)
MAX_STATES = 64
_MAX_DURATION_S = 315_576_000_000  # ten thousand years, where google.protobuf.Duration ends
_MAX_TIMESTAMP_NS = 253402300799 * 10**9  # the end of the year 9999, where google.protobuf.Timestamp ends

STATE_TO_WIRE = {state: pb.JobState.Value(f"JOB_STATE_{state.name}") for state in JobState}
REASON_TO_WIRE = {reason: pb.FinishReason.Value(f"FINISH_REASON_{reason.name}") for reason in FinishReason}
KIND_TO_WIRE = {kind: pb.JobEventKind.Value(f"JOB_EVENT_KIND_{kind.name}") for kind in JobEventKind}
CAUSE_TO_WIRE = {cause: pb.LevelCause.Value(f"LEVEL_CAUSE_{cause.name}") for cause in LevelCause}
_STATES: dict[int, JobState] = {number: state for state, number in STATE_TO_WIRE.items()}
_REASONS: dict[int, FinishReason] = {number: reason for reason, number in REASON_TO_WIRE.items()}
_KINDS: dict[int, JobEventKind] = {number: kind for kind, number in KIND_TO_WIRE.items()}
_CAUSES: dict[int, LevelCause] = {number: cause for cause, number in CAUSE_TO_WIRE.items()}


def _named(table: Mapping[int, _E], number: int, field: str) -> _E:
    try:
        return table[number]
    except KeyError:
        known = ", ".join(str(n) for n in sorted(table))
        raise InvalidInput(f"{field} has the unknown value {number}.", field=field, limit=f"one of {known}") from None


def state_from_wire(number: int) -> JobState:
    """Raises InvalidInput for an unspecified or unknown state."""
    return _named(_STATES, number, "state")


def states_from_wire(numbers: Sequence[int]) -> frozenset[JobState]:
    """The filter of a list call. Raises InvalidInput naming `states`."""
    if len(numbers) > MAX_STATES:
        raise InvalidInput(f"states names {len(numbers)} states.", field="states", limit=f"at most {MAX_STATES}")
    return frozenset(_named(_STATES, number, "states") for number in numbers)


def reason_from_wire(number: int) -> FinishReason:
    """Raises InvalidInput for an unspecified or unknown reason."""
    return _named(_REASONS, number, "finish_reason")


def cause_from_wire(number: int) -> LevelCause:
    """Raises InvalidInput for an unspecified or unknown cause."""
    return _named(_CAUSES, number, "cause")


def kind_from_wire(number: int) -> JobEventKind:
    """Raises InvalidInput for an unspecified or unknown kind."""
    return _named(_KINDS, number, "kind")


def time_to_wire(unix_ns: int) -> Timestamp:
    """A wall-clock time in nanoseconds since 1970, at most the year 9999."""
    stamp = Timestamp()
    stamp.FromNanoseconds(min(unix_ns, _MAX_TIMESTAMP_NS))
    return stamp


def duration_from_wire(message: Duration, field: str) -> int:
    """Nanoseconds. Raises InvalidInput for what is no duration: a fraction beyond a second, or of
    another sign than the seconds.
    """
    seconds, nanos = message.seconds, message.nanos
    if abs(seconds) > _MAX_DURATION_S or abs(nanos) > 999_999_999 or seconds * nanos < 0:
        raise InvalidInput(
            f"{field} is no duration: {seconds} s and {nanos} ns.",
            field=field,
            limit="nanos below a second, of the sign that seconds have",
        )
    return seconds * 10**9 + nanos


def sampling_to_wire(params: SamplingParams, given: frozenset[str] | None = None) -> pb.SamplingParams:
    """All fields, explicitly: what was asked holds whatever the server's defaults are; or only the
    fields in `given`.
    """
    message = pb.SamplingParams()
    for name in _OPTIONAL:
        value = getattr(params, name)
        if value is not None and (given is None or name in given):
            setattr(message, name, value)
    if given is None or "stop" in given:
        message.stop.extend(params.stop)
    if given is None or "stop_token_ids" in given:
        message.stop_token_ids.extend(params.stop_token_ids)
    return message


def sampling_from_wire(message: pb.SamplingParams, defaults: SamplingParams | None = None) -> SamplingParams:
    """Unset fields from `defaults`. Raises InvalidInput with the field's path below `sampling`."""
    base = defaults if defaults is not None else SamplingParams()
    # Before they are taken out one by one: a message of four megabytes may hold two million.
    for field, most in (("stop", MAX_STOP_STRINGS), ("stop_token_ids", MAX_STOP_IDS)):
        count = len(getattr(message, field))
        if count > most:
            raise InvalidInput(f"{field} has {count} entries.", field=f"sampling.{field}", limit=f"at most {most}")
    given = {descriptor.name for descriptor, _ in message.ListFields()}
    values = {name: getattr(message if name in given else base, name) for name in _OPTIONAL}
    try:
        return SamplingParams(
            **values,
            stop=tuple(message.stop) or base.stop,
            stop_token_ids=tuple(message.stop_token_ids) or base.stop_token_ids,
        )
    except InvalidInput as error:
        raise type(error)(error.message, field=f"sampling.{error.field}", limit=error.limit) from None


def account_to_wire(account: JobAccount) -> pb.JobAccount:
    """Where a job's time went."""
    return pb.JobAccount(
        queued_ns=account.queued_ns,
        prefill_ns=account.prefill_ns,
        decode_ns=account.decode_ns,
        preempted_ns=account.preempted_ns,
        moving_ns=account.moving_ns,
        preemptions=account.preemptions,
        promotions=account.promotions,
        demotions=account.demotions,
        recomputed_tokens=account.recomputed_tokens,
        first_token_ns=account.first_token_ns,
    )


def account_from_wire(message: pb.JobAccount) -> JobAccount:
    """Where a job's time went."""
    return JobAccount(
        queued_ns=message.queued_ns,
        prefill_ns=message.prefill_ns,
        decode_ns=message.decode_ns,
        preempted_ns=message.preempted_ns,
        moving_ns=message.moving_ns,
        preemptions=message.preemptions,
        promotions=message.promotions,
        demotions=message.demotions,
        recomputed_tokens=message.recomputed_tokens,
        first_token_ns=message.first_token_ns if message.HasField("first_token_ns") else None,
    )


def failure_to_wire(failure: tuple[str, str] | None) -> pb.Failure | None:
    """(code, message) of a failed job."""
    return None if failure is None else pb.Failure(code=failure[0], message=failure[1])


def failure_from_wire(message: pb.Failure) -> tuple[str, str]:
    """(code, message) of a failed job."""
    return (message.code, message.message)


def logprobs_to_wire(logprobs: TokenLogprobs) -> pb.TokenLogprobs:
    """Log-probabilities of one token."""
    return pb.TokenLogprobs(
        chosen=logprobs.chosen,
        top_token_ids=[token for token, _ in logprobs.top],
        top_logprobs=[value for _, value in logprobs.top],
    )


def logprobs_from_wire(message: pb.TokenLogprobs) -> TokenLogprobs:
    """Log-probabilities of one token. Raises InvalidInput when the two lists differ in length."""
    if len(message.top_token_ids) != len(message.top_logprobs):
        raise InvalidInput("top_token_ids and top_logprobs must have one length.", field="logprobs")
    return TokenLogprobs(message.chosen, tuple(zip(message.top_token_ids, message.top_logprobs, strict=True)))
