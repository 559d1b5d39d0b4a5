"""From a draft to an iteration plan.

Owns the difference between the last batch and this one, the sharing of the prefill budget and the
making of the frozen plan, in this order. It does not decide who runs; the planner calls it after
the walk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...core.ids import Handle
from ...core.plan import NO_APPENDS, Admit, Direction, IterationPlan, PageAppends, PrefillChunk
from ..job_kv import DECODE, OUT, PREFILL, JobKv
from .context import TurnContext
from .decision import Decision
from .draft import Draft

AdmitOf = Callable[[Sequence[Handle]], tuple[Admit, ...]]
"""What the executor must know of jobs that enter: their tokens and sampling, which the planner does
not know.
"""


def rearrange(context: TurnContext, draft: Draft) -> None:
    """The decode batch of this plan; the same object when its members are the same."""
    running, jobs, number, steps = context.books.running, context.books.jobs, context.number, context.tick.steps
    all_stayed = draft.stayed == len(running.members)
    if not all_stayed:
        gone = [job for job in running.members if job.mark != number or job.stage is not DECODE]
        for job in gone:
            if job.stage is DECODE:
                running.take_out(job, steps)
            if job.handle in jobs:
                draft.left.append(job)
    if all_stayed and not draft.came:
        return
    draft.joined += [job for job in draft.came if job.stage is OUT]
    running.rearrange(draft.came, steps)


def share_prompts(context: TurnContext, draft: Draft) -> None:
    """Chunks in ranking order beside the decode members. Where victims go to the host a chunk's KV
    survives eviction, so one chunk is progress.
    """
    rules, books, lasting = context.rules, context.books, context.swaps
    budget, running, page_tokens = rules.budget, books.running, books.ledger.page_tokens
    joined, chunks, charged = draft.joined, draft.chunks, draft.charged
    draft.decode_ns = rules.cost.decode_ns(len(running.decode), running.context_sum)
    left_ns, left_tokens = budget.room_ns(draft.decode_ns), budget.max_tokens
    served: list[JobKv] = []
    for job, length, service_ns in draft.prefills:
        before = job.computed
        rest = job.prompt_tokens + job.generated - before
        # All that is left of the prompt, at the price that the walk asked for: or is there less
        # room by now?
        if length != rest or length > left_tokens or service_ns > left_ns:
            at_least = 0 if served else page_tokens
            length, service_ns = budget.chunk(rest, before, left_ns, left_tokens, at_least=at_least)
            if not length:
                job.mark = 0
                continue
        left_ns -= service_ns
        left_tokens -= length
        ends = length == rest
        chunks.append(PrefillChunk(job.handle, before, length, ends))
        charged.append((job, service_ns, length))
        served.append(job)
        if job.stage is OUT:
            joined.append(job)
        job.stage = PREFILL
        job.computed = before + length
        if ends:
            # The launched chunk will emit a token.
            job.filling = False
            job.generated += 1
        if ends or lasting:
            job.fresh = False
    for job in books.prefilling:
        if job.mark != context.number and job.handle in books.jobs:
            job.stage = OUT
            draft.left.append(job)
    books.prefilling = served


def freeze(context: TurnContext, draft: Draft, admit: AdmitOf) -> Decision:
    """The plan and what else was decided; the books say that it is launched."""
    books, cost = context.books, context.rules.cost
    ledger, running = books.ledger, books.running
    decode, chunks = running.decode, draft.chunks
    for job in draft.asked:
        job.asked = True
    for job in draft.entered:
        job.admitted = True
    computes = len(decode) > 0 or bool(chunks)
    predicted_ns = None
    if computes:
        # A chunk's (tokens, context before) as the cost model wants them.
        pairs = [(length, start) for _, start, length, _ in chunks]
        predicted_ns = cost.iteration_ns(pairs, len(decode), running.context_sum)
    if len(decode):
        running.launched(context.tick.steps)
    dropped, books.dropped = tuple(books.dropped), []
    plan = IterationPlan(
        context.plan_seq,
        ledger.generation,
        decode=decode,
        prefills=tuple(chunks),
        admits=admit([job.handle for job in draft.entered]),
        tables=ledger.block_tables(draft.tables),
        new_pages=_appends(draft.grown),
        moves=tuple(draft.moves),
        dropped=dropped,
        predicted_ns=predicted_ns,
    )
    return Decision(
        plan,
        decode_ns=draft.decode_ns,
        prefill_tokens=sum([length for _, _, length in draft.charged]),
        joined=draft.joined,
        left=draft.left,
        decoding=draft.came,
        charged=draft.charged,
        recomputed=draft.recomputed,
        returning=[job.handle for job in draft.returning],
        asked=[job.handle for job in draft.asked],
        granted=draft.granted,
        pages_out=_pages(draft, Direction.OUT),
        pages_in=_pages(draft, Direction.IN),
        idle=not computes and not dropped and not ledger.tickets,
    )


def _pages(draft: Draft, direction: Direction) -> int:
    return sum(len(move.pages) for move in draft.moves if move.direction is direction)


def _appends(grown: list[tuple[Handle, int]]) -> PageAppends:
    if not grown:
        return NO_APPENDS
    handles, pages = zip(*grown, strict=True)
    return PageAppends(np.array(handles, dtype=np.int64), np.array(pages, dtype=np.int32))
