"""The jobs of one small run as bars in time, from the line that `matrix.timeline` makes."""

from __future__ import annotations

from typing import Any

from .looks import look
from .marks import Scale, line, picture, tag, text, title

WIDE, ROW, LEFT, TOP, BOTTOM = 1100.0, 11.0, 40.0, 8.0, 34.0


def last_s(drawn: dict[str, Any]) -> float:
    """When the last job of a run ends."""
    return max(float(job["end_s"]) for job in drawn["jobs"])


def timeline(drawn: dict[str, Any], until_s: float) -> str:
    """A row a job, in order of arrival, over 0..`until_s`.

    Thin while it waits, thick while it is in the batch, a gap at its first token.
    """
    jobs, policy = drawn["jobs"], drawn["key"]["policy"]
    high = TOP + ROW * len(jobs) + BOTTOM
    x = Scale(0.0, until_s, LEFT, WIDE - 12)
    base = TOP + ROW * len(jobs) + 2
    parts = []
    for value in x.ticks(9):
        parts.append(line(x(value), TOP, x(value), base, class_="grid"))
        parts.append(text(x(value), base + 14, f"{value:g}", text_anchor="middle"))
    parts.append(text((LEFT + WIDE) / 2, base + 28, "seconds", text_anchor="middle"))
    for row, job in enumerate(jobs):
        parts.append(_job(job, row, TOP + ROW * (row + 0.5), x, look(policy).paint()))
    return picture(WIDE, high, f"Jobs of the small run under {policy}", *parts)


def _job(job: dict[str, Any], row: int, y: float, x: Scale, paint: str) -> str:
    jct = job["end_s"] - job["arrival_s"]
    said = title(
        f"job {row + 1}: {job['prompt_tokens']} prompt tokens, {job['output_tokens']} output tokens; "
        f"first token after {job['first_token_s'] - job['arrival_s']:.1f} s, done after {jct:.1f} s, "
        f"in the batch {len(job['runs_s'])} times"
    )
    parts = [said, line(x(job["arrival_s"]), y, x(job["end_s"]), y, class_="wait")]
    for start, end in job["runs_s"]:
        parts.append(line(x(start), y, max(x(end), x(start) + 1), y, class_="run", style=paint))
    first = x(job["first_token_s"])
    parts.append(line(first, y - 3.5, first, y + 3.5, class_="first"))
    parts.append(line(x(job["arrival_s"]), y - 3, x(job["arrival_s"]), y + 3, class_="axis"))
    return tag("g", *parts)
