"""Ended processes that were adopted are reaped at the second look, and one that is waited for is
left to its waiter.
"""

from __future__ import annotations

import subprocess
import sys

_ADOPTS = """
import os, subprocess, sys, time
from skipjoin.serving.worker.offspring import adopt_grandchildren
from skipjoin.serving.door.orphans import Orphans

assert adopt_grandchildren()
orphans = Orphans()
assert orphans.reap() == 0
subprocess.run(["sh", "-c", "sleep 0.2 & sleep 0.2 &"], check=True)  # their parent goes at once
own = subprocess.Popen(["true"])
seen = set()
deadline = time.monotonic() + 20
while len(seen) < 3 and time.monotonic() < deadline:
    seen = {pid for pid in os.listdir("/proc") if pid.isdigit() and os.path.exists(f"/proc/{pid}/stat")
            and open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[:2] == ["Z", str(os.getpid())]}
assert len(seen) == 3, seen
first = orphans.reap()
assert own.wait() == 0
print(first, orphans.reap(), orphans.reap())
assert not any(os.path.exists(f"/proc/{pid}") for pid in seen)
"""


def test_what_was_adopted_is_reaped_at_the_second_look_and_never_what_another_waits_for() -> None:
    done = subprocess.run([sys.executable, "-c", _ADOPTS], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr) == (["0", "2", "0"], "")
