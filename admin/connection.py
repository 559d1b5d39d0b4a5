"""The way to the server's operator socket.

Owns where the socket is looked for, the deadline of every call and what is said when no server
answers. It knows no command; `words.py` asks through it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from ..core.errors import DeadlineExceeded, PermissionDenied, SkipjoinError, Unavailable
from ..proto.admin_pb2_grpc import AdminServiceStub
from ..proto.status import error_of_call

SOCKET_VARIABLE = "SKIPJOIN_ADMIN_SOCKET"
CALL_S = 15.0

R = TypeVar("R", bound=Message)


def default_socket() -> Path:
    """Where a server of this user listens unless it was told otherwise: SKIPJOIN_ADMIN_SOCKET, else
    the user's state folder (XDG).
    """
    given = os.environ.get(SOCKET_VARIABLE)
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "skipjoin" / "admin.sock"


class Connection:
    """An open channel; a context manager."""

    def __init__(self, path: Path, call_s: float = CALL_S) -> None:
        """Raises Unavailable when there is no socket, PermissionDenied when it is another user's."""
        try:
            mode = path.stat().st_mode
        except PermissionError:
            raise PermissionDenied(f"You may not look at {path}; it is another user's server.") from None
        except OSError:
            mode = 0
        if not stat.S_ISSOCK(mode):
            raise Unavailable(
                f"No server runs here: there is no socket at {path}. Start one with `skipjoin serve`, or name its "
                "socket with --socket."
            )
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionDenied(f"You may not use {path}; it is another user's server.")
        self._path = path
        self._call_s = call_s
        # The name in the request is fixed: by default it is the path, which a server may refuse as
        # an authority.
        options = [("grpc.default_authority", "localhost"), ("grpc.enable_retries", 0)]
        self._channel = grpc.insecure_channel(f"unix:{path.absolute()}", options=options)
        self._stub = AdminServiceStub(self._channel)

    def ask(self, method: Callable[[AdminServiceStub], Callable[..., R]], request: Message) -> R:
        """One call of the admin service. Raises the server's error, Unavailable when it does not
        answer.
        """
        try:
            return method(self._stub)(request, timeout=self._call_s)
        except grpc.RpcError as error:
            raise self._said(error) from None

    def _said(self, error: Any) -> SkipjoinError:
        said, _ = error_of_call(error)
        unsaid = not any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
        if unsaid and isinstance(said, Unavailable):
            return Unavailable(
                f"No server answers at {self._path}: it has ended or is just ending. Start one with `skipjoin serve`."
            )
        if unsaid and isinstance(said, DeadlineExceeded):
            return DeadlineExceeded(f"The server at {self._path} did not answer within {self._call_s:g} s.")
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
