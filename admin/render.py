"""What an operator reads.

Owns the text of every answer: tables, the bar of a job's time, sentences. It asks nothing and
decides nothing; it gets messages and prints. Symbols that the terminal cannot show are replaced by
ASCII.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.asked import OPTIONS
from ..proto import admin_pb2 as pb
from ..proto.job_pool_pb2 import Job, JobAccount, JobState
from .plain import word
from .split import in_steps, parts_of, shares

BAR_CELLS = 60
_SYMBOLS = "░▓█╌≈"
_ASCII_SYMBOLS = ".#=-~"
_NS = 1e-9


def show_json(value: Any) -> None:
    """One JSON value, for a program."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def show_status(status: pb.ServerStatus) -> None:
    """The server in a few lines."""
    mood = "serving" if status.engine_ready else "not serving: the engine is starting"
    if status.draining:
        mood = "draining: takes no new jobs"
    rows = [
        ("state", mood),
        ("model", f"{status.model or '?'} on {status.device or '?'}"),
        ("policy", (status.policy or "?") + (f", tail {status.tail:g}" if status.HasField("tail") else "")),
        (
            "jobs",
            f"{status.running_jobs} running, {status.live_jobs} in the engine, {status.accepted_jobs} not yet claimed",
        ),
        ("ended jobs kept", str(status.final_jobs)),
        ("job pool", f"{status.job_pool}, {'durable' if status.durable else 'NOT durable'}"),
        ("engine", f"number {status.incarnation}, {status.engine_restarts} restarts"),
        ("up", span(status.uptime_ns)),
        ("version", status.version),
    ]
    _pairs(rows)


def begin_again() -> None:
    """Before the next round of a watch: a clear screen, or an empty line where there is no screen."""
    print("\x1b[H\x1b[2J" if sys.stdout.isatty() else "", end="" if sys.stdout.isatty() else "\n", flush=True)


def show_jobs(
    jobs: Sequence[Job], more: bool, live: Mapping[str, pb.LiveJob] | None = None, now_unix_ns: int | None = None
) -> None:
    """A table of jobs, newest first. `live` says what the engine does with those that it holds;
    with the time now all show their age.
    """
    if not jobs:
        print("There are no such jobs.")
        return
    rows = [
        (
            job.job_id,
            job.tenant,
            _live_state(job, (live or {}).get(job.job_id)),
            *(str(getattr(job, name)) for name in OPTIONS),
            str(job.prompt_tokens),
            f"{job.output_tokens}/{job.sampling.max_new_tokens}",
            job.submit_time.ToDatetime().isoformat(sep=" ", timespec="seconds"),
            "" if now_unix_ns is None else span(now_unix_ns - job.submit_time.ToNanoseconds()),
            span(_completion_ns(job)) if job.HasField("account") else "",
        )
        for job in jobs
    ]
    left, options, right = (
        ("job", "tenant", "state"),
        tuple(OPTIONS),
        ("prompt", "output", "submitted (UTC)", "age", "took"),
    )
    header = (*left, *options, *right)
    _table(header, rows, right=set(range(len(left), len(header))) - {header.index("submitted (UTC)")})
    if more:
        print("There are more; ask with a larger --limit.")


def _live_state(job: Job, live: pb.LiveJob | None) -> str:
    """What the engine does with a job where it holds it, else the stored state."""
    if live is None or not live.phase or job.cancel_requested:
        return _state(job)
    return f"{live.phase}, level {live.level}"


def show_job(answer: pb.GetJobResponse) -> None:
    """One job, and why it was slow."""
    job = answer.job
    held = answer.HasField("live")
    rows = [
        ("job", job.job_id),
        ("tenant", job.tenant),
        ("state", _state(job) + (f", {answer.live.phase} on level {answer.live.level}" if held else "")),
        ("tokens", f"{job.prompt_tokens} prompt, {job.output_tokens} of at most {job.sampling.max_new_tokens} output"),
        ("submitted", job.submit_time.ToDatetime().isoformat(sep=" ", timespec="milliseconds") + " UTC"),
    ]
    for name, option in OPTIONS.items():
        if value := getattr(job, name):
            rows.append((name, f"{value}, {option.spelling.meaning}"))
    if job.HasField("request_id"):
        rows.append(("request id", job.request_id))
    if job.HasField("finish_time"):
        rows.append(("ended", job.finish_time.ToDatetime().isoformat(sep=" ", timespec="milliseconds") + " UTC"))
    if job.HasField("failure"):
        rows.append(("failure", f"{job.failure.message} ({job.failure.code})"))
    _pairs(rows)
    if job.HasField("account"):
        _show_account(job.account, "Time from arrival to the end")
    elif held:
        _show_account(answer.live.account, "Time from arrival until now")
    elif job.state in (JobState.JOB_STATE_ACCEPTED, JobState.JOB_STATE_CLAIMED):
        print("\nNo engine holds it yet, so all of its time is waiting.")
    else:
        print("\nIt ended without an engine, so there is no account of its time.")


def _show_account(account: JobAccount, title: str) -> None:
    parts = parts_of(account)
    values = [part.ns for part in parts]
    step_ns, unit, digits = _unit(sum(values))
    steps, total = in_steps(values, step_ns)
    symbols = _printable_symbols()
    bar = "".join(symbol * cells for symbol, cells in zip(symbols, shares(values, BAR_CELLS), strict=True))
    print(f"\n{title}: {total / 10**digits:.{digits}f} {unit}")
    print(f"[{bar}]")
    percents = shares(values, 1000)
    rows = [
        (symbol, part.name, f"{count / 10**digits:.{digits}f} {unit}", f"{tenths / 10:.1f} %", part.meaning)
        for symbol, part, count, tenths in zip(symbols, parts, steps, percents, strict=True)
    ]
    _table(("", "part", "time", "share", "the job"), rows, right={2, 3})
    largest = max(parts, key=lambda part: part.ns)
    if largest.ns:
        print(f"\nMost of the time it {largest.meaning}.")
    # A job that an engine took up from another has tokens and no time of the first.
    unknown = "not known" if account.decode_ns else "not yet"
    first = span(account.first_token_ns) if account.HasField("first_token_ns") else unknown
    print(
        f"First token after: {first}. Preemptions {account.preemptions}, demotions {account.demotions}, "
        f"promotions {account.promotions}, tokens computed again {account.recomputed_tokens}."
    )


def show_queues(answer: pb.GetQueuesResponse) -> None:
    """Jobs by level."""
    rows = [
        (str(row.level), str(row.jobs), str(row.running), str(row.jobs - row.running), span(row.oldest_wait_ns))
        for row in answer.levels
    ]
    print(f"policy {answer.policy}; {answer.accepted_jobs} jobs not yet claimed")
    if rows:
        _table(("level", "jobs", "running", "waiting", "longest wait"), rows, right={0, 1, 2, 3, 4})


def show_kv(answer: pb.GetKvResponse) -> None:
    """Pages of both pools."""
    kv = answer.kv
    rows = [
        (
            name,
            *(f"{pages}" for pages in counts),
            f"{counts[0] * answer.page_tokens}",
            size(counts[0] * answer.page_bytes),
        )
        for name, counts in (
            ("device", (kv.device_total, kv.device_free, kv.device_owned, kv.device_in_flight)),
            ("host", (kv.host_total, kv.host_free, kv.host_owned, kv.host_in_flight)),
        )
    ]
    header = ("pool", "blocks", "free", "owned", "in flight", "tokens", "size")
    _table(header, rows, right={1, 2, 3, 4, 5, 6})
    print(
        f"A block holds {answer.page_tokens} tokens in {size(answer.page_bytes)}; {kv.clean_pages} device blocks "
        "have a host copy."
    )


def show_executors(answer: pb.GetExecutorsResponse) -> None:
    """A row for each rank."""
    if not answer.ranks:
        print("There is no engine yet; it says what its ranks are once it is ready.")
        return
    rows = [
        (
            str(rank.rank),
            str(rank.pid),
            rank.host,
            rank.device,
            _share(rank.share) if rank.HasField("share") else "-",
            size(rank.weight_bytes),
            f"{rank.device_pages} + {rank.host_pages}",
            size(rank.page_bytes * (rank.device_pages + rank.host_pages)),
            size(rank.memory_bytes),
            span(rank.step_ns) if rank.step_ns else "-",
            str(answer.restarts),
        )
        for rank in answer.ranks
    ]
    header = ("rank", "pid", "host", "device", "share", "weights", "blocks", "KV", "memory", "step", "restarts")
    _table(header, rows, right={0, 1, 5, 6, 7, 8, 9, 10})


def _share(share: pb.RankShare) -> str:
    """heads 2/4, KV heads 1/2, columns 48/96, layers 0-1 of 2."""
    last = share.first_layer + share.layers - 1
    parts = [
        f"heads {share.heads}/{share.of_heads}",
        f"KV heads {share.kv_heads}/{share.of_kv_heads}",
        f"columns {share.columns}/{share.of_columns}",
        f"layers {share.first_layer}-{last} of {share.of_layers}",
    ]
    return ", ".join(parts)


def show_cancelled(job: Job) -> None:
    """What became of a cancel."""
    if job.state == JobState.JOB_STATE_CANCELLED:
        print(f"Job {job.job_id} is cancelled.")
    elif job.HasField("finish_time"):
        print(f"Job {job.job_id} had ended before: {_state(job)}.")
    else:
        print(f"Job {job.job_id} is being cancelled.")


def show_policy(answer: pb.SetPolicyResponse) -> None:
    """What a policy change did."""
    tail = f" Its tail is {answer.tail:g}." if answer.HasField("tail") else ""
    if answer.previous == answer.policy:
        print(f"The policy was {answer.policy} already.{tail}")
    else:
        print(f"The policy is {answer.policy} now; it was {answer.previous}.{tail}")


def show_policy_now(status: pb.ServerStatus) -> None:
    """The policy that ranks the jobs, and its dial."""
    if not status.policy:
        print("No engine has said yet which policy ranks the jobs.")
        return
    tail = f" Its tail is {status.tail:g}." if status.HasField("tail") else ""
    print(f"The policy is {status.policy}.{tail}")


def show_drain(answer: pb.DrainResponse) -> None:
    """What a drain begins with."""
    print(
        f"The server is draining: it takes no new jobs and ends when its {answer.live_jobs} open jobs have "
        "finished or are parked."
    )


def span(ns: int) -> str:
    """A time for a person: three figures that matter, or minutes and hours."""
    if ns < 0:
        return "0 s"
    seconds = ns * _NS
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(count: int) -> str:
    """Bytes for a person."""
    value, units = float(count), ("B", "KiB", "MiB", "GiB", "TiB")
    for unit in units:
        if value < 1024 or unit == units[-1]:
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
        value /= 1024
    return f"{count} B"


def _unit(total_ns: int) -> tuple[int, str, int]:
    """Step in ns, unit and digits behind the point for a table of times."""
    return (1_000, "ms", 3) if total_ns < 10_000_000_000 else (1_000_000, "s", 3)


def _completion_ns(job: Job) -> int:
    return sum(part.ns for part in parts_of(job.account))


def _state(job: Job) -> str:
    state = word(Job.DESCRIPTOR.fields_by_name["state"].enum_type, job.state) or "?"
    reason = word(Job.DESCRIPTOR.fields_by_name["finish_reason"].enum_type, job.finish_reason)
    if reason is not None and reason != state:
        return f"{state} ({reason})"
    return f"{state} (cancel asked)" if job.cancel_requested and reason is None else state


def _printable_symbols() -> str:
    try:
        _SYMBOLS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _ASCII_SYMBOLS
    return _SYMBOLS


def _pairs(rows: Sequence[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {_safe(value)}")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: set[int]) -> None:
    lines = [[_safe(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    for line in lines:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def _safe(text: str) -> str:
    """No control characters: names and messages come from clients, the terminal is the operator's."""
    return "".join(char if char.isprintable() else "�" for char in text)
