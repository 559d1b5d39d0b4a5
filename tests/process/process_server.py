"""A real server in processes of its own, for tests: started, found, killed, started again.

Owns the door's process and its files; it finds the engine as the door's child. It uses nothing of
the product but its command line and its wire, so that what it sees is what a user sees.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.job_pool_pb2_grpc import JobPoolServiceStub

COMMAND = (sys.executable, "-m", "skipjoin.cli", "serve")
_PORT = re.compile(r"gRPC \S+?:(\d+)")


class Server:
    """`skipjoin serve` with a simulated executor, unless flags say otherwise; files live in
    `folder`.
    """

    def __init__(self, folder: Path, *flags: str, simulated: bool = True) -> None:
        self.folder = folder
        self.admin = folder / "admin.sock"
        base = ["--listen", "127.0.0.1:0", "--http-listen", "", "--admin-socket", str(self.admin)]
        base += ["--job-pool", f"sqlite:{folder / 'jobs.sqlite'}"]
        if simulated:
            base += ["--executor", "simulated", "--simulated-scale", "0.05", "--kv-tokens", "4096"]
        self.flags = [*base, *flags]
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.start_line = ""
        self.log = folder / "log.txt"

    # life
    # -------------------------------------------------------------------------------------------------------
    def start(self) -> Server:
        """Start and wait for the start line."""
        with self.log.open("a") as log:
            self._process = subprocess.Popen([*COMMAND, *self.flags], stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        with self._process.stdout as said:
            self.start_line = said.readline().strip()
        found = _PORT.search(self.start_line)
        if found is None:
            self._process.wait(10)
            raise AssertionError(f"no start line: {self.start_line!r}; log: {self.log.read_text()[-2000:]}")
        self.port = int(found[1])
        return self

    @property
    def pid(self) -> int:
        """The door's process."""
        assert self._process is not None
        return self._process.pid

    def engine_pid(self, *, patience_s: float = 20.0) -> int:
        """The engine's process: the door's child that runs engine_process."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            for child in _children(self.pid):
                if b"engine_process" in _command_line(child):
                    return child
            time.sleep(0.005)
        raise AssertionError("the door has no engine")

    def spare_pid(self, *, patience_s: float = 20.0) -> int:
        """The process that engines are forked from."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            for child in _children(self.pid):
                if b"engine_spare" in _command_line(child) and alive(child):
                    return child
            time.sleep(0.005)
        raise AssertionError("the door has no spare")

    def rank_pids(self, count: int, *, of: int | None = None, patience_s: float = 20.0) -> list[int]:
        """The processes of the engine's other ranks, or those that process `of` started, in their
        order: wait for so many.
        """
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            children = _children(self.engine_pid() if of is None else of)
            found = [child for child in children if b"rank_process" in _command_line(child) and alive(child)]
            if len(found) == count:
                return sorted(found)
            time.sleep(0.01)
        raise AssertionError(f"the engine has not {count} other ranks")

    def adopt(self, door: subprocess.Popen[str]) -> None:
        """The server is this process, which somebody else has started."""
        self._process = door

    def wait_for_engine(self, *, patience_s: float = 30.0) -> None:
        """Until an engine serves."""
        end = time.monotonic() + patience_s
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            health = HealthStub(channel)
            while health.Check(HealthCheckRequest()).status != HealthCheckResponse.SERVING:
                assert time.monotonic() < end, "no engine serves"
                time.sleep(0.01)

    def wait_for_tokens(self, job_id: str, count: int, *, patience_s: float = 30.0) -> None:
        """Until the job has made so many tokens."""
        end = time.monotonic() + patience_s
        with self.stub() as stub:
            while stub.Get(pb.GetRequest(job_id=job_id)).job.output_tokens < count:
                assert time.monotonic() < end, "the job makes no tokens"
                time.sleep(0.01)

    def wait_for_line(self, words: str, *, count: int = 1, patience_s: float = 30.0) -> None:
        """Until the log has `words` at least `count` times."""
        end = time.monotonic() + patience_s
        while self.log.read_text().count(words) < count:
            assert time.monotonic() < end, f"no {words!r} in the log: {self.log.read_text()[-3000:]}"
            time.sleep(0.02)

    def kill_engine(self) -> int:
        """kill -9 of the engine; answers its pid."""
        pid = self.engine_pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill(self) -> None:
        """kill -9 of the door."""
        assert self._process is not None
        self._process.kill()
        self._reap(10)

    def terminate(self, timeout_s: float = 30.0) -> int:
        """SIGTERM and wait; answers the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._reap(timeout_s)

    def wait(self, timeout_s: float) -> int:
        """Wait for the end."""
        return self._reap(timeout_s)

    def signal(self, number: int) -> None:
        """Send a signal to the door."""
        os.kill(self.pid, number)

    def _reap(self, timeout_s: float) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self) -> None:
        """End it in any case."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._reap(10)

    # wire
    # -------------------------------------------------------------------------------------------------------
    @contextmanager
    def stub(self) -> Iterator[JobPoolServiceStub]:
        """A client on a channel of its own."""
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            yield JobPoolServiceStub(channel)


def spec(
    prompt: str = "hello", tokens: int = 8, *, seed: int | None = None, ignore_eos: bool = False, **more: object
) -> pb.JobSpec:
    """A job of so many tokens."""
    sampling = pb.SamplingParams(max_new_tokens=tokens, seed=seed, ignore_eos=ignore_eos)
    return pb.JobSpec(text=prompt, sampling=sampling, **more)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
