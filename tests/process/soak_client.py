"""Clients that never give up, for the kill tests.

Owns threads that submit jobs by request_id and follow their streams by offset through every
failure, and note all of it in a ledger. A client asks where the server is each time, for a
restarted one has another port.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import grpc
from ledger import Ledger
from process_server import spec

from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.job_pool_pb2_grpc import JobPoolServiceStub

RETRIED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


class Client(threading.Thread):
    """One after the other, jobs of random length until told to stop; the job at hand is always
    followed to its end.
    """

    def __init__(self, name: str, where: Callable[[], int], ledger: Ledger, *, longest: int, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self._where = where
        self._ledger = ledger
        self._longest = longest
        self._random = random.Random(seed)
        self._stop_asked = threading.Event()
        self._port = 0
        self._channel: grpc.Channel | None = None
        self.jobs = 0
        self.retries = 0
        self.error: BaseException | None = None

    def finish(self) -> None:
        """No further job."""
        self._stop_asked.set()

    def run(self) -> None:
        """The thread."""
        try:
            while not self._stop_asked.is_set():
                self._job(f"{self.name}-{self.jobs}")
                self.jobs += 1
        except BaseException as error:  # noqa: BLE001 - the test's own thread shows it
            self.error = error
        finally:
            if self._channel is not None:
                self._channel.close()

    def _job(self, request: str) -> None:
        length = self._random.randint(1, self._longest)
        asked = spec("soak " + request, length, seed=self._random.getrandbits(32), ignore_eos=True)
        self._ledger.note(kind="asked", request=request, length=length)
        answer = self._until_done(
            lambda stub: stub.Submit(pb.SubmitRequest(spec=asked, request_id=request), timeout=20)
        )
        job_id = answer.job.job_id
        self._ledger.note(kind="acked", request=request, job=job_id)
        self._at, self._ended = 0, False
        while not self._ended:
            self._until_done(lambda stub: self._follow(stub, request, job_id))

    def _follow(self, stub: JobPoolServiceStub, request: str, job_id: str) -> None:
        for item in stub.Stream(pb.StreamRequest(job_id=job_id, offset=self._at), timeout=60):
            chunk = item.chunk
            if chunk.token_ids:
                self._ledger.note(kind="tokens", request=request, offset=chunk.offset, tokens=list(chunk.token_ids))
            self._at = chunk.offset + len(chunk.token_ids)
            if chunk.HasField("finish"):
                assert chunk.finish.reason == pb.FINISH_REASON_LENGTH, f"{request}: {chunk.finish}"
                self._ended = True

    def _until_done(self, call: Callable[[JobPoolServiceStub], object]) -> pb.SubmitResponse:
        while True:
            try:
                return call(self._stub())  # type: ignore[return-value]
            except grpc.RpcError as error:
                if error.code() not in RETRIED:
                    raise
                self.retries += 1
                time.sleep(0.02)

    def _stub(self) -> JobPoolServiceStub:
        port = self._where()
        if self._channel is None or port != self._port:
            if self._channel is not None:
                self._channel.close()
            self._port = port
            # Short back-off: a channel that waits a minute between tries would hide what is tested.
            options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
            self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        return JobPoolServiceStub(self._channel)
