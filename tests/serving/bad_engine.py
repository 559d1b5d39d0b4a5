"""An engine that goes wrong at its second start, in the way that BAD_ENGINE says; at any other it
is the real one.

A program of its own: test_supervisor lets the door start it in the engine's place. BAD_STARTS names
a file that counts the starts.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from skipjoin.proto.frames import Ready, Starting, encode_from_engine, framed
from skipjoin.serving.facts import ExecutorFacts

FACTS = ExecutorFacts(1, 100, 0, 16, 1, None, 257)


def misbehave(ipc: socket.socket, how: str) -> None:
    """Until it is killed, or of its own will."""
    match how:
        case "garbage":
            ipc.sendall(b"\xff" * 4096)
        case "a frame without sense":
            ipc.sendall(framed(b"\xff\xff\xff"))
        case "a frame that never ends":
            ipc.sendall(b"\x00\x00\x01\x00" + b"x" * 100)
        case "closes":
            ipc.shutdown(socket.SHUT_RDWR)
        case "facts that are none":
            ipc.sendall(framed(encode_from_engine(Ready(2, 1, "fcfs", FACTS, "{not json"))))
        case "facts of something else":
            ipc.sendall(framed(encode_from_engine(Ready(2, 1, "fcfs", FACTS, '{"unknown": 1}'))))
        case "another incarnation":
            ipc.sendall(framed(encode_from_engine(Starting(1, "loading its weights"))))
        case "a fault of ours":
            ipc.sendall(framed(encode_from_engine(Starting(2, "stumbling"))))
        case "exits":
            sys.exit(9)
        case _:
            raise AssertionError(how)
    time.sleep(60)


def main() -> None:
    """One start."""
    count = Path(os.environ["BAD_STARTS"])
    starts = int(count.read_text()) + 1 if count.exists() else 1
    count.write_text(str(starts))
    if starts == 2:
        misbehave(socket.socket(fileno=int(sys.argv[1])), os.environ["BAD_ENGINE"])
    os.execv(sys.executable, [sys.executable, "-P", "-m", "skipjoin.serving.worker.engine_process", sys.argv[1]])


if __name__ == "__main__":
    main()
