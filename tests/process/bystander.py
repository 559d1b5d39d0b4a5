"""A client in a process of its own that keeps asking a server while a test attacks it, and the
memory of the server's door meanwhile.

Owns both watchers. The process shares no interpreter with the test, so what it waits for is the
server and not the attack's own Python. It uses nothing of the product but its wire. Tests of
attacks run it around the attack and judge `longest_s`, `failures` and `grown_bytes`.

    with bystander(server, "health") as seen, door_memory(server.pid) as memory:
        attack()
    assert seen.failures == 0 and seen.longest_s <= 0.5, seen
    assert memory.grown_bytes <= 200 * 2**20, memory
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from process_server import Server

Ask = Literal["health", "submit", "completion"]
PAUSE_S = 0.02
TIMEOUT_S = 120.0
_KEPT = 5


@dataclass
class Seen:
    """What the bystander saw; filled in when the `with` block ends.

    `longest_s` is the longest wait for an answer, one still open at the end included, connecting
    included. `late_s` is how late the process itself woke at worst: on a machine without a free
    core that much of any wait is nobody's fault. `reasons` are the first failures in words.
    """

    count: int = 0
    failures: int = 0
    longest_s: float = 0.0
    late_s: float = 0.0
    reasons: list[str] = field(default_factory=list)


@dataclass
class Memory:
    """Resident bytes of a process: when the `with` block began, at most, and when it ended."""

    start_bytes: int = 0
    peak_bytes: int = 0
    end_bytes: int = 0

    @property
    def grown_bytes(self) -> int:
        """How far it rose above its start."""
        return self.peak_bytes - self.start_bytes


@contextmanager
def bystander(
    server: Server,
    ask: Ask = "health",
    *,
    token: str | None = None,
    ca: Path | None = None,
    fresh: bool | None = None,
    patience_s: float = 60.0,
) -> Iterator[Seen]:
    """Ask from a process of its own, every 20 ms, until the block ends. It has had one answer when
    the block begins.

    "health" is GET /health, "completion" one token over HTTP, "submit" Submit and Stream of one
    token over gRPC. `fresh`: a connection for every ask; HTTP has that unless told otherwise, gRPC
    has one channel. `token` is shown with every ask. With `ca`, a file of PEM, it speaks TLS.
    """
    from http_client import http_port

    port = server.port if ask == "submit" else http_port(server)
    fresh = (ask != "submit") if fresh is None else fresh
    command = [sys.executable, __file__, ask, str(port), *(["--fresh"] if fresh else [])]
    environment = os.environ | ({"BYSTANDER_TOKEN": token} if token else {}) | ({"BYSTANDER_CA": str(ca)} if ca else {})
    seen = Seen()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        watchdog = threading.Timer(patience_s, process.kill)
        watchdog.start()
        try:
            first = process.stdout.readline()
            assert first == "asking\n", f"the bystander had no first answer: {first!r}"
            watchdog.cancel()
            yield seen
            said, _ = process.communicate("", timeout=30)
            seen.__dict__.update(json.loads(said))
        finally:
            watchdog.cancel()
            process.kill()


@contextmanager
def door_memory(pid: int, pause_s: float = 0.02) -> Iterator[Memory]:
    """Look at a process's resident memory every 20 ms until the block ends."""
    memory = Memory(start_bytes=resident_bytes(pid))
    memory.peak_bytes = memory.start_bytes
    done = threading.Event()

    def look() -> None:
        while not done.wait(pause_s):
            memory.peak_bytes = max(memory.peak_bytes, resident_bytes(pid))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()
        memory.end_bytes = resident_bytes(pid)
        memory.peak_bytes = max(memory.peak_bytes, memory.end_bytes)


def resident_bytes(pid: int) -> int:
    """A process's resident memory now; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0


# the process
# ----------------------------------------------------------------------------------------------------
class _Asking:
    """Asks in a loop on one thread; another reads the figures, also while an answer is still out."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._began: float | None = None
        self.seen = Seen()
        self.first = threading.Event()

    def run(self) -> None:
        """For ever."""
        while True:
            began = self._began = time.monotonic()
            try:
                self._ask()
            except Exception as error:  # noqa: BLE001  whatever it was, it is told
                self.seen.failures += 1
                if len(self.seen.reasons) < _KEPT:
                    self.seen.reasons.append(f"{type(error).__name__}: {error}"[:300])
            else:
                self.first.set()
            self._began = None
            self.seen.count += 1
            self.seen.longest_s = max(self.seen.longest_s, time.monotonic() - began)
            time.sleep(PAUSE_S)

    def lateness(self) -> None:
        """How late this process wakes, whatever the server does."""
        while True:
            due = time.monotonic() + PAUSE_S
            time.sleep(PAUSE_S)
            self.seen.late_s = max(self.seen.late_s, time.monotonic() - due)

    def report(self) -> str:
        """The figures until now."""
        began = self._began
        if began is not None:
            self.seen.longest_s = max(self.seen.longest_s, time.monotonic() - began)
        return json.dumps(self.seen.__dict__)


def _http(port: int) -> http.client.HTTPConnection:
    if (ca := os.environ.get("BYSTANDER_CA")) is None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    context = ssl.create_default_context(cafile=ca)
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=context)


def _over_http(port: int, token: str | None, *, fresh: bool, completion: bool) -> Callable[[], None]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    kept = _http(port)

    def exchange(connection: http.client.HTTPConnection) -> None:
        if completion:
            body = json.dumps({"prompt": "bystander", "max_tokens": 1, "ignore_eos": True})
            connection.request("POST", "/v1/completions", body, headers | {"Content-Type": "application/json"})
        else:
            connection.request("GET", "/health", headers=headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {said[:200]!r}")

    def ask() -> None:
        if fresh:
            with closing(_http(port)) as connection:
                exchange(connection)
            return
        try:
            exchange(kept)
        except BaseException:
            kept.close()
            raise

    return ask


def _over_grpc(port: int, token: str | None, *, fresh: bool) -> Callable[[], None]:
    import grpc

    from skipjoin.proto import job_pool_pb2 as pb
    from skipjoin.proto.job_pool_pb2_grpc import JobPoolServiceStub

    metadata: Any = (("authorization", f"Bearer {token}"),) if token else ()
    asked = pb.JobSpec(text="bystander", sampling=pb.SamplingParams(max_new_tokens=1, ignore_eos=True))

    def opened(options: list[tuple[str, int]]) -> grpc.Channel:
        if (ca := os.environ.get("BYSTANDER_CA")) is None:
            return grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes())
        return grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options)

    kept = None if fresh else opened([])

    def exchange(channel: grpc.Channel) -> None:
        stub = JobPoolServiceStub(channel)
        job = stub.Submit(pb.SubmitRequest(spec=asked), timeout=TIMEOUT_S, metadata=metadata).job
        items = list(stub.Stream(pb.StreamRequest(job_id=job.job_id), timeout=TIMEOUT_S, metadata=metadata))
        if items[-1].chunk.finish.output_tokens != 1:
            raise RuntimeError(f"not one token: {items[-1]}")

    def ask() -> None:
        if kept is not None:
            exchange(kept)
            return
        with opened([("grpc.use_local_subchannel_pool", 1)]) as channel:
            exchange(channel)

    return ask


def main() -> None:
    """Ask until standard input ends, then say what was seen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("ask", choices=("health", "submit", "completion"))
    parser.add_argument("port", type=int)
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    token = os.environ.get("BYSTANDER_TOKEN")
    if options.ask == "submit":
        ask = _over_grpc(options.port, token, fresh=options.fresh)
    else:
        ask = _over_http(options.port, token, fresh=options.fresh, completion=options.ask == "completion")
    asking = _Asking(ask)
    threading.Thread(target=asking.run, daemon=True).start()
    asking.first.wait(TIMEOUT_S)
    asking.seen.failures, asking.seen.longest_s, asking.seen.reasons = 0, 0.0, []
    threading.Thread(target=asking.lateness, daemon=True).start()
    print("asking", flush=True)
    sys.stdin.read()
    print(asking.report(), flush=True)
    os._exit(0)  # an answer may still be out, and it is not waited for


if __name__ == "__main__":
    main()
