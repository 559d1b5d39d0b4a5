"""The names under which the HTTP door may be called.

Owns the check of a request's Host: a page in a browser whose name was rebound to this machine shows
its own name there, and a listener that only this machine can reach answers to its own names alone.
`middlewares/known_host.py` asks it first of all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...core.errors import PermissionDenied
from ..settings import is_loopback

ANY = "*"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]@/\s,]+)(?::\d{0,5})?", re.ASCII)


class Hosts:
    """Allowed names of one listener."""

    def __init__(self, listener: str, allowed: Sequence[str]) -> None:
        """`listener` is the host that is listened on.

        Beyond loopback any name will do, unless `allowed` names some.
        """
        own = {*_LOOPBACK, *([listener] if is_loopback(listener) else [])}
        self._allowed = frozenset(_plain(name) for name in (*own, *allowed))
        self._any = ANY in self._allowed or (not is_loopback(listener) and not allowed)

    def check(self, said: Sequence[str], target: str) -> None:
        """Raise PermissionDenied for a Host that is not allowed.

        The host of a target like http://HOST/PATH counts too. HTTP/1.0 may say none.
        """
        if self._any:
            return
        named = list(said)
        if not target.startswith(("/", "*")):
            named.append(target.partition("://")[2].partition("/")[0] or target)
        for authority in named:
            if not self._known(authority):
                raise PermissionDenied(
                    "The server does not answer to this Host. A server on the loopback interface answers to "
                    "localhost, 127.0.0.1 and [::1]; the setting allowed_hosts adds names.",
                    field="Host",
                )

    def _known(self, authority: str) -> bool:
        match = _AUTHORITY.fullmatch(authority.strip())
        if match is None:
            return False
        return _plain(match[1]) in self._allowed


def _plain(name: str) -> str:
    return name.lower().removesuffix(".").strip("[]")
