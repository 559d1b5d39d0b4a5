"""Bodies over HTTP, over a real socket: what is announced and does not come holds no room."""

from __future__ import annotations

import asyncio

from aiohttp import web

from skipjoin.core.errors import Overloaded
from skipjoin.core.ids import TenantId
from skipjoin.serving.door.payloads import Payloads
from skipjoin.serving.door.shares import Shares
from skipjoin.serving.http.answers import Refused
from skipjoin.serving.http.body import Bodies

MOST = 1 << 16
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def test_a_body_that_is_announced_holds_what_has_come_of_it() -> None:
    async def run() -> None:
        payloads, begun = Payloads(Shares(2 * MOST)), 0
        bodies = Bodies(payloads, MOST, 30.0)

        async def handle(request: web.BaseRequest) -> web.Response:
            nonlocal begun
            begun += 1
            try:
                async with bodies.read(request, TenantId("red")) as data:
                    return web.Response(text=str(len(data)))
            except Refused as refused:
                return web.Response(status=refused.status)
            except Overloaded:
                return web.Response(status=429)

        server = await asyncio.get_running_loop().create_server(web.Server(handle), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def say(data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            return reader, writer

        silent = [await say(HEAD % MOST) for _ in range(8)]
        while begun < 8:  # noqa: ASYNC110 - what is waited for is plain state
            await asyncio.sleep(0.01)
        assert payloads.held_bytes == 0
        reader, full = await say(HEAD % MOST + b" " * MOST)
        assert b" 200 " in await reader.readline()
        reader, large = await say(HEAD % (MOST + 1))
        assert b" 413 " in await reader.readline()
        for _, writer in (*silent, (reader, full), (reader, large)):
            writer.close()
        server.close()

    asyncio.run(run())
