"""Use a model in this process, without a server.

    skipjoin model init ./small --preset small
    python examples/in_process.py ./small

The same engine as the server's: a batch that does not fit into the KV pool is preempted and
offloaded like anybody's.
"""

from __future__ import annotations

import sys

from skipjoin import LLM, SamplingParams


def main(folder: str) -> None:
    """A few prompts, and one line for each answer."""
    prompts = ["Once upon a time", "The quick brown fox", "In the beginning"]
    with LLM(folder, max_batch=8) as llm:
        for prompt, answer in zip(
            prompts, llm.generate(prompts, SamplingParams(max_new_tokens=32, temperature=0.0)), strict=True
        ):
            print(f"{prompt!r} -> {answer.text!r} ({answer.finish.value})")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: in_process.py MODEL_FOLDER")
    main(sys.argv[1])
