"""Send a batch of prompts, one a line, and print the answers in order.

    python examples/sync_batch.py [HOST:PORT] < prompts.txt

All jobs are submitted before the first answer is read, so the server schedules them together. Each
has a request_id made of its prompt: the script can be broken off and run again, and no prompt is
computed twice.
"""

from __future__ import annotations

import hashlib
import sys

from skipjoin.client import DEFAULT_TARGET, Client
from skipjoin.core.errors import SkipjoinError

PARAMS = {"max_new_tokens": 16, "seed": 7}


def main(target: str, prompts: list[str]) -> int:
    """Submit everything, then collect; answers how many jobs did not succeed."""
    failures = 0
    with Client(target) as client:
        jobs = [
            client.submit(prompt, params=PARAMS, request_id=hashlib.sha256(prompt.encode()).hexdigest())
            for prompt in prompts
        ]
        for prompt, job in zip(prompts, jobs, strict=True):
            try:
                answer = client.stream(job.job_id).result()
            except SkipjoinError as error:
                failures += 1
                print(f"{prompt!r}: {error}")
            else:
                print(f"{prompt!r}: {len(answer.token_ids)} tokens, {answer.finish_reason.value}: {answer.text!r}")
    return failures


if __name__ == "__main__":
    lines = [line.strip() for line in sys.stdin if line.strip()]
    sys.exit(1 if main(sys.argv[1] if len(sys.argv) > 1 else DEFAULT_TARGET, lines) else 0)
