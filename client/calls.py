"""What both clients share: settings, which target is next, and the requests they send.

Owns `Calls`, the base of `Client` and `AsyncClient`. It opens no channel and makes no call.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import grpc

from ..core.clock import MonotonicClock
from ..core.errors import DeadlineExceeded, InvalidInput, SkipjoinError, Unavailable
from ..core.job import JobState
from ..core.view import MAX_REASON, JobSpec
from ..proto import job_pool_pb2 as pb
from ..proto.convert import spec_to_wire
from ..proto.status import FailedCall, error_of_call, found_no_server
from ..proto.terms import STATE_TO_WIRE
from .asked import request_id_of
from .connection import DEFAULT_TARGET, TlsParams, Transport, read_targets
from .follow import Follow
from .probe import LOOK_S, look
from .retry import Attempts, RetryParams

DEFAULT_TIMEOUT_S = 30.0


class Calls:
    """Settings of a client.

    `targets`: HOST:PORT or unix:PATH, several as a list or separated by commas; they must be doors
    of one job pool. `token`: the bearer token. `tls`: None for plain text. `insecure`: allow a
    token in plain text beyond this machine. `timeout_s` bounds each call but streams, all its
    attempts together. Raises InvalidInput.
    """

    def __init__(
        self,
        targets: str | Sequence[str] = DEFAULT_TARGET,
        *,
        token: str | None = None,
        tls: TlsParams | None = None,
        insecure: bool = False,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry: RetryParams | None = None,
    ) -> None:
        self._transport = Transport(read_targets(targets), tls=tls, token=token, insecure=insecure)
        self._retry = retry if retry is not None else RetryParams()
        self._timeout_s = timeout_s
        self._clock = MonotonicClock()
        self._draw = random.Random()
        self._closed = False
        self._known: set[int] = set()
        self.preferred = 0
        self._attempts(timeout_s)  # refuses a bad timeout now

    def _attempts(self, timeout_s: float | None) -> Attempts:
        if self._closed:
            raise InvalidInput("The client is closed.")
        return Attempts(self._retry, len(self._transport.targets), timeout_s, self._clock, self._draw)

    def _answered(self, target: int) -> None:
        """A server of ours is at this target."""
        self.preferred = target
        self._known.add(target)

    def _shall_look(self, error: SkipjoinError, target: int) -> bool:
        """Whether to look what answers at a target: once, and not where a server of ours has
        answered before.
        """
        if not found_no_server(error) or target in self._known:
            return False
        self._known.add(target)
        return True

    def _look(self, target: int, attempts: Attempts) -> Unavailable | None:
        """What is wrong with a target. Blocks for two seconds at most, and no longer than the call
        has left (a name's addresses apart).
        """
        left_s = attempts.left_s
        within_s = LOOK_S if left_s is None else min(LOOK_S, left_s)
        return look(self._transport.targets[target], self._transport.tls, within_s)

    def _named(self, error: SkipjoinError, target: int) -> SkipjoinError:
        """The error with the address that it is about."""
        if not found_no_server(error):
            return error
        address = self._transport.targets[target]
        return Unavailable(f"{address}: {error.message}", field=error.field, limit=error.limit)

    def _next_target(self, failed: int) -> int:
        return (failed + 1) % len(self._transport.targets)


def submit_request(spec: JobSpec, request_id: str | None) -> pb.SubmitRequest:
    """A submit that may be tried again: it has an idempotency key."""
    return pb.SubmitRequest(spec=spec_to_wire(spec), request_id=request_id_of(request_id))


def list_request(states: Iterable[JobState], page_size: int, page_token: str) -> pb.ListRequest:
    """A page of jobs. Raises InvalidInput for a page size out of bounds."""
    if not 0 <= page_size < 2**31:
        raise InvalidInput(f"page_size is {page_size}.", field="page_size", limit="0 or more")
    return pb.ListRequest(page_size=page_size, page_token=page_token, states=[STATE_TO_WIRE[state] for state in states])


def cancel_request(job_id: str, reason: str) -> pb.CancelRequest:
    """A cancel. Raises InvalidInput for a reason that is too long."""
    if len(reason) > MAX_REASON:
        raise InvalidInput("The reason is too long.", field="reason", limit=f"at most {MAX_REASON} characters")
    return pb.CancelRequest(job_id=job_id, reason=reason)


def broken_stream(failure: FailedCall, follow: Follow, attempts: Attempts) -> tuple[SkipjoinError, float | None]:
    """Why a stream broke. The server's own cap on a call's length is no end: the stream is attached
    again.
    """
    error, hint_s = error_of_call(failure)
    if isinstance(error, DeadlineExceeded) and follow.job_id is not None and not attempts.over:
        return Unavailable("The server ended the stream at its time limit."), hint_s
    return error, hint_s


def ended_early() -> Unavailable:
    """A stream that ended well before the job did."""
    return Unavailable("The stream ended before the job did.")


def failed_call(error: grpc.RpcError) -> FailedCall:
    """A gRPC error as what it is: both kinds have the methods of a failed call, the base class
    declares none.
    """
    if not isinstance(error, FailedCall):
        raise error
    return error
