"""The tree of everything that can go wrong and be said to a person.

Owns the exception classes, their stable codes and process exit codes. It does not know gRPC or
HTTP: `proto/status.py` maps the codes to wire statuses in one table. Raised on every floor; assert
is for our own bugs only.

    SkipjoinError
    |-- InvalidInput          INVALID_INPUT       a field out of bounds, a malformed request or file        exit 2
    |   |-- NeverFits         NEVER_FITS          prompt + new tokens exceed the context or the KV pool
    |   |-- OffsetOutOfRange  OFFSET_OUT_OF_RANGE a stream offset beyond the log
    |   |-- InvalidModel      INVALID_MODEL       a model folder that cannot or must not be loaded
    |   |-- InvalidTrace      INVALID_TRACE       a trace that cannot be read
    |   |-- InvalidProfile    INVALID_PROFILE     a cost profile that cannot be read or is another model's
    |   `-- InvalidSettings   INVALID_SETTINGS    flags, environment or settings file
    |-- NotFound              NOT_FOUND           no such job (or another tenant's)                        exit 3
    |-- UnknownMethod         UNKNOWN_METHOD      a call of a method that is not here                       exit 1
    |-- Conflict              CONFLICT            same request_id with another body                        exit 1
    |-- WrongState            WRONG_STATE         the job is past the state the call needs                 exit 1
    |-- Denied                                                                                             exit 4
    |   |-- Unauthenticated   UNAUTHENTICATED     no or wrong token
    |   `-- PermissionDenied  PERMISSION_DENIED   a right that this token lacks
    |-- Overloaded            OVERLOADED          a bounded queue is full; carries retry_after_s           exit 5
    |-- Unavailable           UNAVAILABLE         draining, engine restarting, store not writable          exit 5
    |   `-- StoreUnavailable  STORE_UNAVAILABLE   disk full, read-only, locked, gone
    |-- DataLoss              DATA_LOSS           a stored job that the disk gives back damaged            exit 1
    |-- DeadlineExceeded      DEADLINE_EXCEEDED   the call's or the job's deadline passed                  exit 1
    |-- JobCancelled          CANCELLED           the job was cancelled                                    exit 1
    |-- JobFailed             JOB_FAILED          the job ended in FAILED; the message says why            exit 1
    |   `-- PoisonJob         POISON_JOB          crashed the engine while alone
    `-- InternalError         INTERNAL            our bug: invariant broken, rank lost                     exit 1
        |-- InvariantViolation INVARIANT
        `-- ExecutorLost      EXECUTOR_LOST
"""

from __future__ import annotations

from typing import ClassVar


class SkipjoinError(Exception):
    """Root of the tree.

    `message` is one sentence or two for a person: what was wrong and what to do. `field` and
    `limit` name the input and its bound. None of them may hold a path of ours, a class name, SQL or
    a secret.
    """

    code: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, field: str | None = None, limit: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.limit = limit

    def __str__(self) -> str:
        parts = [self.message]
        if self.field is not None and self.field not in self.message:
            parts.append(f"(field: {self.field})")
        if self.limit is not None and self.limit not in self.message:
            parts.append(f"(limit: {self.limit})")
        return " ".join(parts)


class InvalidInput(SkipjoinError):
    """A value that the caller sent is malformed or out of bounds."""

    code = "INVALID_INPUT"
    exit_code = 2


class NeverFits(InvalidInput):
    """Prompt plus new tokens exceed the model's context or the device pool."""

    code = "NEVER_FITS"


def too_long(tokens: int, context: int, field: str, *, at_least: bool = False) -> NeverFits:
    """What a prompt of too many tokens is told; `context` bounds prompt and output together, and an
    output has one token.
    """
    return NeverFits(
        f"This model's maximum context length is {context} tokens here, prompt and output together; the prompt has"
        f" {'at least ' * at_least}{tokens}.",
        field=field,
        limit=f"at most {context - 1} tokens",
    )


class OffsetOutOfRange(InvalidInput):
    """A stream offset that is negative or beyond the token log."""

    code = "OFFSET_OUT_OF_RANGE"


class InvalidModel(InvalidInput):
    """A model folder that cannot, or must not, be loaded."""

    code = "INVALID_MODEL"


class InvalidTrace(InvalidInput):
    """A trace file that cannot be read; the message names line and column."""

    code = "INVALID_TRACE"


class InvalidProfile(InvalidInput):
    """A cost profile that cannot be read, or belongs to another model or version."""

    code = "INVALID_PROFILE"


class InvalidSettings(InvalidInput):
    """A flag, an environment variable or a line of the settings file."""

    code = "INVALID_SETTINGS"


class NotFound(SkipjoinError):
    """No such job, or one of another tenant."""

    code = "NOT_FOUND"
    exit_code = 3


class UnknownMethod(SkipjoinError):
    """A call of a method that this server does not have."""

    code = "UNKNOWN_METHOD"


class Conflict(SkipjoinError):
    """The request_id exists with another body."""

    code = "CONFLICT"


class WrongState(SkipjoinError):
    """The job is past the state that the call needs."""

    code = "WRONG_STATE"


class Denied(SkipjoinError):
    """The caller may not."""

    code = "PERMISSION_DENIED"
    exit_code = 4


class Unauthenticated(Denied):
    """No token, or a wrong one."""

    code = "UNAUTHENTICATED"


class PermissionDenied(Denied):
    """A right that this token lacks."""


OPEN_CALLS = "calls"
"""The field of an Overloaded for which nothing but the call's headers was looked at: the same call
is welcome a moment later.
"""


class Overloaded(SkipjoinError):
    """A bounded queue is full; come back after `retry_after_s` seconds."""

    code = "OVERLOADED"
    exit_code = 5

    def __init__(
        self, message: str, *, retry_after_s: float, field: str | None = None, limit: str | None = None
    ) -> None:
        super().__init__(message, field=field, limit=limit)
        self.retry_after_s = retry_after_s


class Unavailable(SkipjoinError):
    """Draining, restarting or not able to write; safe to retry."""

    code = "UNAVAILABLE"
    exit_code = 5


class StoreUnavailable(Unavailable):
    """The job pool cannot be written: disk full, read-only, locked, its file gone."""

    code = "STORE_UNAVAILABLE"


class DataLoss(SkipjoinError):
    """What was stored comes back damaged from the disk, and is not given out; asking again does not
    help.
    """

    code = "DATA_LOSS"


class DeadlineExceeded(SkipjoinError):
    """The deadline of the call, or of the job, has passed."""

    code = "DEADLINE_EXCEEDED"


class JobCancelled(SkipjoinError):
    """The job was cancelled."""

    code = "CANCELLED"


class JobFailed(SkipjoinError):
    """The job ended in FAILED."""

    code = "JOB_FAILED"


class PoisonJob(JobFailed):
    """The job crashed the engine while it ran alone."""

    code = "POISON_JOB"


class InternalError(SkipjoinError):
    """Our bug."""


class InvariantViolation(InternalError):
    """A rule that the core keeps was found broken."""

    code = "INVARIANT"


class ExecutorLost(InternalError):
    """A rank died or hung; the engine has to be restarted."""

    code = "EXECUTOR_LOST"


def _walk(root: type[SkipjoinError]) -> dict[str, type[SkipjoinError]]:
    table = {root.code: root}
    for child in root.__subclasses__():
        for code, cls in _walk(child).items():
            table.setdefault(code, cls)
    return table


def by_code() -> dict[str, type[SkipjoinError]]:
    """Stable code -> class, for whoever turns a wire status back into an exception."""
    table = _walk(SkipjoinError)
    table["INTERNAL"] = InternalError
    table["PERMISSION_DENIED"] = PermissionDenied
    return table
