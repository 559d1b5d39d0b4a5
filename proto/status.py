"""How an error travels: one table between our errors, gRPC statuses and HTTP statuses.

Owns the table and both directions: `abort_args` makes what a servicer gives to `context.abort`,
with google.rpc.Status details (ErrorInfo of domain "skipjoin", BadRequest with the field,
RetryInfo); `error_of_call` makes our exception again. It knows no servicer; serving, HTTP and the
SDK use it.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from ..core import errors as e

DOMAIN = "skipjoin"
DETAILS_KEY = "grpc-status-details-bin"
MAX_MESSAGE_BYTES = (
    1024  # it travels twice, once percent-encoded, and still fits below the 8 KiB that trailers may have
)
MAX_NAME_BYTES = 128
DEFAULT_RETRY_S = 1.0
NO_SERVER = "No server answers there, or the connection broke; is the address right and `skipjoin serve` running?"

# One row per class: gRPC code and HTTP status. A class without a row takes its parent's.
_TABLE: dict[type[e.SkipjoinError], tuple[grpc.StatusCode, int]] = {
    e.SkipjoinError: (grpc.StatusCode.INTERNAL, 500),
    e.InvalidInput: (grpc.StatusCode.INVALID_ARGUMENT, 400),
    e.OffsetOutOfRange: (grpc.StatusCode.OUT_OF_RANGE, 400),
    e.NotFound: (grpc.StatusCode.NOT_FOUND, 404),
    e.UnknownMethod: (grpc.StatusCode.UNIMPLEMENTED, 501),
    e.Conflict: (grpc.StatusCode.ALREADY_EXISTS, 409),
    e.WrongState: (grpc.StatusCode.FAILED_PRECONDITION, 409),
    e.Denied: (grpc.StatusCode.PERMISSION_DENIED, 403),
    e.Unauthenticated: (grpc.StatusCode.UNAUTHENTICATED, 401),
    e.Overloaded: (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    e.Unavailable: (grpc.StatusCode.UNAVAILABLE, 503),
    e.DataLoss: (grpc.StatusCode.DATA_LOSS, 500),
    e.DeadlineExceeded: (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    e.JobCancelled: (grpc.StatusCode.CANCELLED, 499),
    e.JobFailed: (grpc.StatusCode.INTERNAL, 500),
    e.InternalError: (grpc.StatusCode.INTERNAL, 500),
}

# What a bare code means, for statuses that gRPC itself or a proxy made.
_BARE: dict[grpc.StatusCode, type[e.SkipjoinError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: e.InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE: e.OffsetOutOfRange,
    grpc.StatusCode.NOT_FOUND: e.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: e.Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: e.WrongState,
    grpc.StatusCode.PERMISSION_DENIED: e.PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: e.Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: e.Overloaded,
    grpc.StatusCode.UNAVAILABLE: e.Unavailable,
    grpc.StatusCode.DATA_LOSS: e.DataLoss,
    grpc.StatusCode.DEADLINE_EXCEEDED: e.DeadlineExceeded,
    # A server that is stopped cancels its calls without a word; a caller's own cancel never comes
    # back as a status.
    grpc.StatusCode.CANCELLED: e.Unavailable,
}


@runtime_checkable
class FailedCall(Protocol):
    """What sync and async gRPC errors have in common."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Any: ...


def _row(error: type[e.SkipjoinError]) -> tuple[grpc.StatusCode, int]:
    return next(_TABLE[cls] for cls in error.__mro__ if cls in _TABLE)


def grpc_code(error: type[e.SkipjoinError]) -> grpc.StatusCode:
    """The gRPC code of an error class."""
    return _row(error)[0]


def http_status(error: type[e.SkipjoinError]) -> int:
    """The HTTP status of an error class."""
    return _row(error)[1]


def status_of(error: e.SkipjoinError, *, retry_after_s: float | None = None) -> Status:
    """The google.rpc.Status of an error. An Overloaded brings its own `retry_after_s`,
    StoreUnavailable a second; others may be given one.
    """
    code: Any = grpc_code(type(error)).value
    status = Status(code=code[0], message=_cut(error.message, MAX_MESSAGE_BYTES))
    info = ErrorInfo(reason=error.code, domain=DOMAIN)
    for name, value in (("field", error.field), ("limit", error.limit)):
        if value is not None:
            info.metadata[name] = _cut(value, MAX_NAME_BYTES)
    _pack(status, info)
    if error.field is not None and isinstance(error, e.InvalidInput):
        bad = BadRequest()
        bad.field_violations.add(
            field=_cut(error.field, MAX_NAME_BYTES), description=_cut(error.limit or error.message, MAX_NAME_BYTES)
        )
        _pack(status, bad)
    if isinstance(error, e.Overloaded):
        retry_after_s = error.retry_after_s
    elif isinstance(error, e.StoreUnavailable) and retry_after_s is None:
        retry_after_s = DEFAULT_RETRY_S
    if retry_after_s is not None:
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(round(retry_after_s * 1e9))
        _pack(status, retry)
    return status


def _cut(text: str, length: int) -> str:
    # Lone surrogates of a caller's string must not keep its error from being told.
    return text[:length].encode("utf-8", "replace")[:length].decode("utf-8", "ignore")


def _pack(status: Status, detail: Any) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def abort_args(
    error: e.SkipjoinError, *, retry_after_s: float | None = None
) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Code, message and trailing metadata for `context.abort(*abort_args(error))`."""
    status = status_of(error, retry_after_s=retry_after_s)
    return grpc_code(type(error)), status.message, ((DETAILS_KEY, status.SerializeToString()),)


def found_no_server(error: e.SkipjoinError) -> bool:
    """Whether an error of `error_of_call` came from no server of ours: the connection failed, or
    something else answered.
    """
    return type(error) is e.Unavailable and error.message.startswith(NO_SERVER)


def error_of_call(call: FailedCall) -> tuple[e.SkipjoinError, float | None]:
    """Our exception for a failed call, and the server's hint in seconds when to come back (None: it
    gave none).
    """
    status = _sent_status(call)
    code, message = call.code(), call.details() or "The call failed without a message."
    info, retry_after_s = ErrorInfo(), None
    for detail in status.details if status is not None else ():
        info_here, retry = ErrorInfo(), RetryInfo()
        if detail.Is(ErrorInfo.DESCRIPTOR) and detail.Unpack(info_here) and info_here.domain == DOMAIN:
            info = info_here
        elif detail.Is(RetryInfo.DESCRIPTOR) and detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and not info.reason and "larger than max" in message:
        return e.InvalidInput("The message is larger than the other side accepts.", limit=message[:200]), None
    if code is grpc.StatusCode.UNAVAILABLE and not info.reason:
        return e.Unavailable(f"{NO_SERVER} ({message[:200]})"), retry_after_s
    cls = e.by_code().get(info.reason) or _BARE.get(code, e.InternalError)
    field, limit = info.metadata.get("field"), info.metadata.get("limit")
    if issubclass(cls, e.Overloaded):
        wait = DEFAULT_RETRY_S if retry_after_s is None else retry_after_s
        return cls(message, retry_after_s=wait, field=field, limit=limit), retry_after_s
    return cls(message, field=field, limit=limit), retry_after_s


def _sent_status(call: FailedCall) -> Status | None:
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                return None  # a proxy's garbage: the code alone must do
    return None
