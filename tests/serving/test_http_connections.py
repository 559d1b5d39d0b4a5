"""HTTP connections at the accept loop, over real sockets: a system without room for more, and a
door without room for more.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from skipjoin.core.errors import SkipjoinError
from skipjoin.serving.http.connection import Patience
from skipjoin.serving.http.connections import HttpConnections

ASK = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


class Listening(socket.socket):
    """A listening socket on whose first accepts the system is out of something."""

    def __init__(self, *errors: int) -> None:
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.listen()
        self.errors = list(errors)
        self.accepts = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.accepts += 1
        if self.errors:
            code = self.errors.pop(0)
            raise OSError(code, os.strerror(code))
        return super().accept()


class Door:
    """Connections whose requests wait for `let_go`."""

    def __init__(self, listening: Listening, most: int) -> None:
        self.refused: list[SkipjoinError] = []
        self.let_go = asyncio.Event()
        self.where = listening.getsockname()
        self.connections = HttpConnections(
            self._handle, most, Patience(10.0, 10.0, 10.0), self.refused.append, lambda: None
        )
        self.connections.accept(listening, None)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        await self.let_go.wait()
        return web.Response(text="done")

    async def asked(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.where)
        writer.write(ASK)
        return reader, writer

    async def end(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        self.connections.stop_accepting()
        await self.connections.end(0.1)


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError


def test_a_system_without_room_is_asked_again_after_a_pause_and_all_connections_come_back() -> None:
    async def main() -> None:
        with Listening(errno.ENFILE, errno.ENFILE) as listening:
            door = Door(listening, 40)
            door.let_go.set()
            reader, writer = await door.asked()
            await asyncio.sleep(0.5)
            assert listening.accepts == 1
            assert door.connections.most < 40
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            assert listening.accepts <= 5
            await _until(lambda: door.connections.most == 40)
            await door.end(writer)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_door_that_has_reached_its_own_limit_goes_on_at_once_and_pauses_if_that_was_in_vain() -> None:
    async def main() -> None:
        with Listening() as listening:
            door = Door(listening, 100)
            silent = [await asyncio.open_connection(*door.where) for _ in range(60)]
            await _until(lambda: door.connections.count == 60)
            listening.errors = [errno.EMFILE, errno.EMFILE]
            before = listening.accepts
            late = await asyncio.open_connection(*door.where)
            await asyncio.sleep(0.3)
            assert listening.accepts == before + 2
            assert door.connections.count == 16
            await _until(lambda: listening.accepts > before + 2)
            await door.end(late[1], *(writer for _, writer in silent))

    asyncio.run(asyncio.wait_for(main(), 30))


def test_nothing_is_accepted_again_after_the_end() -> None:
    async def main() -> None:
        with Listening(errno.ENOBUFS) as listening:
            door = Door(listening, 100)
            _, writer = await door.asked()
            await asyncio.sleep(0.1)
            await door.end(writer)
            await asyncio.sleep(1.2)
            assert listening.accepts == 1

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_connection_beyond_those_that_work_is_told_429_and_counted() -> None:
    async def main() -> None:
        with Listening() as listening:
            door = Door(listening, 2)
            working = [await door.asked() for _ in range(2)]
            await asyncio.sleep(0.1)
            reader, writer = await asyncio.open_connection(*door.where)
            said = await reader.read()
            assert said.startswith(b"HTTP/1.1 429 ")
            assert b"Retry-After: 1\r\n" in said
            assert [error.code for error in door.refused] == ["OVERLOADED"]
            door.let_go.set()
            for answer, _ in working:
                assert (await answer.readline()).startswith(b"HTTP/1.1 200")
            await door.end(writer, *(worker for _, worker in working))

    asyncio.run(asyncio.wait_for(main(), 30))
