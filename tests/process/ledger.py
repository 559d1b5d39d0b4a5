"""A client's own book of what it was promised, independent of the server's.

Owns one file per test: each line is written and fsynced before a call goes out and after its answer
came, so that whatever dies, the book says what was acknowledged and which tokens were seen. `check`
compares it with what the server says at the end. It knows nothing of the product but the wire.
"""

from __future__ import annotations

import json
import os
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.job_pool_pb2_grpc import JobPoolServiceStub


class Ledger:
    """An append-only file of JSON lines; safe for several client threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._path = path
        self._lock = threading.Lock()

    def note(self, **entry: Any) -> None:
        """On stable storage when this returns."""
        with self._lock:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """No further notes."""
        self._file.close()

    def entries(self) -> list[dict[str, Any]]:
        """All notes, from the file."""
        return [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]

    def check(self, stub: JobPoolServiceStub) -> dict[str, int]:
        """Compare with the server, which must be idle now; answers counts. Raises AssertionError on
        any broken promise.
        """
        asked: dict[str, dict[str, Any]] = {}
        acked: dict[str, str] = {}
        seen: dict[str, list[int]] = defaultdict(list)
        for entry in self.entries():
            name = entry["request"]
            if entry["kind"] == "asked":
                asked[name] = entry
            elif entry["kind"] == "acked":
                assert acked.setdefault(name, entry["job"]) == entry["job"], f"{name} has two jobs"
            elif entry["kind"] == "tokens":
                # A gap or a repeat shows here: the client counts, not the server.
                assert entry["offset"] == len(seen[name]), f"{name}: chunk at {entry['offset']}, had {len(seen[name])}"
                seen[name] += entry["tokens"]
        assert len(set(acked.values())) == len(acked), "two requests share a job"
        for name, job_id in acked.items():
            job = stub.Get(pb.GetRequest(job_id=job_id)).job
            assert job.request_id == name
            assert job.state == pb.JOB_STATE_SUCCEEDED, f"{name} ended as {job.state}: {job.failure}"
            log = [t for r in stub.Stream(pb.StreamRequest(job_id=job_id)) for t in r.chunk.token_ids]
            assert len(log) == asked[name]["length"], f"{name}: {len(log)} tokens of {asked[name]['length']}"
            assert seen[name] == log[: len(seen[name])], f"{name}: the client saw other tokens than the log has"
            assert seen[name] == log, f"{name}: the client saw {len(seen[name])} of {len(log)} tokens"
        return {"acked": len(acked), "tokens": sum(map(len, seen.values()))}
