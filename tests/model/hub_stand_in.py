"""A small model hub on this machine: the two requests that a download makes, and the ways in which
a hub fails.

Owns an aiohttp server in a thread of its own, over a folder of repositories. It answers as the real
one does: a listing with sizes and hashes, files behind a redirect to another address. `Hub.faults`
says what goes wrong; `asked` is what was asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

COMMIT = "c0ffee" + "0" * 34
LFS_BYTES = 65536
"""Files from here on are named by their SHA-256, as large files are."""


class Hub:
    """Repositories below `root`, one folder each (`org/name` or `name`)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commit = COMMIT
        self.faults: set[str] = set()
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        self.sent = 0
        self.url = ""
        self.silence = asyncio.Event()

    # what it answers
    # ------------------------------------------------------------------------------------------------
    async def info(self, request: web.Request) -> web.StreamResponse:
        """What `HfApi.model_info` asks."""
        repo, revision = request.match_info["repo"], request.match_info["revision"]
        self.asked.append(f"info {repo}@{revision}")
        await self._fault("info")
        if "bad token" in self.faults:
            return _error(401, "", "Invalid credentials in Authorization header")
        folder = self.root / repo
        if not folder.is_dir():
            return _error(401, "RepoNotFound", "Repository not found")
        if revision not in ("main", self.commit):
            return _error(404, "RevisionNotFound", "Invalid rev id")
        if "plain 404" in self.faults:
            return web.Response(status=404, text="nothing here")
        siblings = [_told(path) for path in sorted(folder.rglob("*")) if path.is_file()]
        for one in siblings:
            one["rfilename"] = str(Path(str(one["rfilename"])).relative_to(folder))
            if "names alone" in self.faults:
                for key in ("size", "blobId", "lfs"):
                    one.pop(key, None)
        if "no list" in self.faults:
            siblings = []
        return web.json_response({"id": repo, "modelId": repo, "sha": self.commit, "siblings": siblings})

    async def tree(self, request: web.Request) -> web.StreamResponse:
        """What `HfApi.list_repo_tree` asks."""
        folder = self.root / request.match_info["repo"]
        files = [path for path in sorted(folder.iterdir()) if path.is_file()]
        return web.json_response(
            [{"type": "file", "path": path.name, "size": path.stat().st_size, "oid": _etag(path)} for path in files]
        )

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A file of a commit: a redirect for a large one, as the hub does."""
        repo, name = request.match_info["repo"], request.match_info["name"]
        if "gated" in self.faults:
            return _error(403, "GatedRepo", "Access to this model is restricted")
        path = self.root / repo / name
        head = {"X-Repo-Commit": self.commit, "ETag": f'"{_etag(path)}"', "X-Linked-Size": str(path.stat().st_size)}
        if request.method == "HEAD":
            return web.Response(headers=head | {"X-Linked-ETag": f'"{_etag(path)}"'})
        self.asked.append(f"get {name}")
        self.tokens.append(request.headers.get("Authorization"))
        if path.stat().st_size >= LFS_BYTES:
            return web.Response(
                status=302, headers={"Location": f"{self.url.replace('127.0.0.1', 'localhost')}/cdn/{repo}/{name}"}
            )
        return await self._send(request, path)

    async def content(self, request: web.Request) -> web.StreamResponse:
        """The other address."""
        self.tokens.append(request.headers.get("Authorization"))
        return await self._send(request, self.root / request.match_info["repo"] / request.match_info["name"])

    async def _send(self, request: web.Request, path: Path) -> web.StreamResponse:
        data = path.read_bytes()  # noqa: ASYNC240  a file of a test
        large = len(data) >= LFS_BYTES
        if large and "wrong content" in self.faults:
            data = bytes(len(data))
        if large and "too long" in self.faults:
            data += b"more"
        if large and "full" in self.faults:
            return web.Response(status=503)
        start = 0
        wanted = request.headers.get("Range")
        if wanted and "no ranges" not in self.faults:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.asked.append(f"range {start}")
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(data) - start
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        await response.prepare(request)
        rest = data[start:]
        if large and "half" in self.faults:
            half = max(1, len(rest) // 2)
            await response.write(rest[:half])
            self.sent += half
            assert request.transport is not None
            request.transport.close()
            return response
        if large and "hangs" in self.faults:
            await response.write(rest[: len(rest) // 2])
            await self.silence.wait()
        if large and "drips" in self.faults:
            for byte in rest:
                await response.write(bytes([byte]))
                await asyncio.sleep(0.05)
        await response.write(rest)
        self.sent += len(rest)
        await response.write_eof()
        return response

    async def _fault(self, where: str) -> None:
        if f"{where} silent" in self.faults:
            await self.silence.wait()
        if f"{where} broken" in self.faults:
            raise web.HTTPInternalServerError

    # life
    # ---------------------------------------------------------------------------------------------------------
    @contextmanager
    def running(self) -> Iterator[Hub]:
        """Answer on a free port of this machine until left."""
        ready, loop = threading.Event(), asyncio.new_event_loop()
        stopped = asyncio.Event()

        async def serve() -> None:
            app = web.Application()
            app.router.add_get("/api/models/{repo:[^/]+(?:/[^/]+)?}/revision/{revision:.+}", self.info)
            app.router.add_get("/api/models/{repo:[^/]+(?:/[^/]+)?}/tree/{revision:.+}", self.tree)
            app.router.add_route("*", "/cdn/{repo:.+}/{name:[^/]+}", self.content)
            app.router.add_route("*", "/{repo:.+}/resolve/{revision:[^/]+}/{name:[^/]+}", self.file)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await stopped.wait()
            self.silence.set()
            await runner.cleanup()

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
        thread.start()
        assert ready.wait(30)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stopped.set)
            thread.join(30)
            loop.close()


def _etag(path: Path) -> str:
    data = path.read_bytes()
    if len(data) >= LFS_BYTES:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _told(path: Path) -> dict[str, object]:
    size = path.stat().st_size
    told: dict[str, object] = {
        "rfilename": str(path),
        "size": size,
        "blobId": hashlib.sha1(str(path).encode()).hexdigest(),
    }
    if size >= LFS_BYTES:
        told["lfs"] = {"sha256": _etag(path), "size": size, "pointerSize": 134}
    else:
        told["blobId"] = _etag(path)
    return told


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response(
        {"error": message}, status=status, headers={"X-Error-Code": code, "X-Error-Message": message}
    )
