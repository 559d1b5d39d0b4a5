"""Follow a job, lose the connection, go on at the token where it broke.

    python examples/async_resume.py [HOST:PORT] [PROMPT]

The client attaches broken streams again by itself. What is shown here is the harder case, a client
that is gone: all that has to be kept is the job's id and how many tokens were received.
"""

from __future__ import annotations

import asyncio
import sys

from skipjoin.client import DEFAULT_TARGET, AsyncClient

TOKENS = 48
CUT_AFTER = 10


async def begin(target: str, prompt: str) -> tuple[str, int, str]:
    """Submit, read a few tokens and leave; the job goes on without us. Answers its id, the offset
    reached and the text so far.
    """
    async with AsyncClient(target) as client:
        job = await client.submit(prompt, params={"max_new_tokens": TOKENS, "ignore_eos": True})
        text, generation = "", client.stream(job.job_id)
        async for chunk in generation:
            text += chunk.text
            if generation.offset >= CUT_AFTER:
                break
        return job.job_id, generation.offset, text


async def go_on(target: str, job_id: str, offset: int) -> tuple[str, int]:
    """The rest of the text, and the offset at its end."""
    async with AsyncClient(target) as client:
        generation = client.stream(job_id, offset=offset)
        text = "".join([chunk.text async for chunk in generation])
        return text, generation.offset


async def main(target: str, prompt: str) -> None:
    """Both halves, and the whole to compare."""
    job_id, offset, first = await begin(target, prompt)
    print(f"job {job_id}: cut off after {offset} tokens")
    rest, end = await go_on(target, job_id, offset)
    print(f"job {job_id}: went on from {offset} to {end}")
    whole, _ = await go_on(target, job_id, 0)
    print("the two halves are the whole" if first + rest == whole else "the text has a seam")


if __name__ == "__main__":
    words = sys.argv[1:]
    asyncio.run(main(words[0] if words else DEFAULT_TARGET, words[1] if len(words) > 1 else "Once upon a time"))
