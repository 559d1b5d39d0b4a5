"""A small stand-in for engine and planner: makes plans that run given jobs in a given manner, and
collects their tokens.

It allocates pages at random, so that no test passes by pages lying in order, and lets a test choose
chunking, batch size, preemption (pages moved to the host and back, at every turn if wanted) and
recompute.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from skipjoin.core.asked import Asked
from skipjoin.core.outcome import IterationOutcome, TokenLogprobs
from skipjoin.core.plan import (
    Admit,
    BlockTable,
    DecodeBatch,
    Direction,
    IterationPlan,
    Move,
    PageAppends,
    PrefillChunk,
)
from skipjoin.core.sampling import SamplingParams

GREEDY = SamplingParams(temperature=0.0)


@dataclass
class Job:
    handle: int
    prompt: list[int]
    wanted: int
    sampling: SamplingParams = GREEDY
    seed: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs | None] = field(default_factory=list)
    failed: str | None = None
    computed: int = 0
    admitted: bool = False
    pages: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    admitted_tokens: int = 0

    @property
    def known(self) -> int:
        return len(self.prompt) + len(self.tokens)

    @property
    def done(self) -> bool:
        return self.failed is not None or len(self.tokens) >= self.wanted


class PlanDriver:
    """Runs jobs on an executor. `swap`: whoever leaves the batch goes to the host; `recompute`: its
    pages are dropped instead.
    """

    def __init__(
        self, executor, *, max_batch=8, chunk=10**9, swap=False, recompute=False, rotate=False, shuffle_seed=0
    ):
        self.executor = executor
        self.facts = executor.start()
        self.max_batch, self.chunk = max_batch, chunk
        self.swap, self.recompute, self.rotate = swap, recompute, rotate
        self.random = random.Random(shuffle_seed)
        self.free_pages = list(range(self.facts.device_pages))
        self.free_slots = list(range(self.facts.host_pages))
        self.random.shuffle(self.free_pages)
        self.random.shuffle(self.free_slots)
        self.seq = self.move_id = 0
        self.moves_done = 0
        self.decode = DecodeBatch()
        self.outcomes: list[IterationOutcome] = []

    def run(self, jobs):
        """All jobs to their end; answers their tokens in order."""
        queue = deque(jobs)
        resident: list[Job] = []
        while queue or resident:
            if self.rotate and resident and queue:
                # Everybody who ran leaves: no job runs two turns in a row while another can.
                for job in resident:
                    self.evict(job)
                    queue.append(job)
                resident = []
            while queue and len(resident) < self.max_batch:
                resident.append(queue.popleft())
            self.turn(resident)
            resident = [job for job in resident if not job.done]
        return [job.tokens for job in jobs]

    def turn(self, batch):
        admits, tables, drops, appends = [], [], [], []
        returning = [job for job in batch if job.slots]
        if returning:
            self.bring_back(returning, tables)
        chunks, decodes = [], []
        for job in batch:
            if not job.admitted:
                tokens = np.array(job.prompt + job.tokens, dtype=np.int32)
                admits.append(Admit(job.handle, tokens, len(tokens), len(job.prompt), Asked(job.sampling), job.seed))
                job.admitted, job.computed, job.admitted_tokens = True, 0, len(tokens)
            if job.computed < job.admitted_tokens and job.computed < job.known - (job.known > job.admitted_tokens):
                length = min(self.chunk, job.admitted_tokens - job.computed)
                end = job.computed + length
                chunks.append(PrefillChunk(job.handle, job.computed, length, last=end == job.admitted_tokens))
            else:
                decodes.append(job)
                end = job.known
            while len(job.pages) * self.facts.page_tokens < end:
                job.pages.append(self.free_pages.pop())
                appends.append((job.handle, job.pages[-1]))
            job.computed = end
        handles = np.array([job.handle for job in decodes], dtype=np.int64)
        if not np.array_equal(handles, self.decode.handles):
            self.decode = DecodeBatch(handles)
        outcome = self.submit(
            decode=self.decode,
            prefills=tuple(chunks),
            admits=tuple(admits),
            tables=tuple(tables),
            new_pages=PageAppends(
                np.array([h for h, _ in appends], dtype=np.int64), np.array([p for _, p in appends], dtype=np.int32)
            ),
        )
        expected = [job.handle for job in decodes] + [chunk.handle for chunk in chunks if chunk.last]
        failed = dict(outcome.failed)
        assert outcome.handles.tolist() == [handle for handle in expected if handle not in failed]
        by_handle = {job.handle: job for job in batch}
        for i, (handle, token) in enumerate(zip(outcome.handles.tolist(), outcome.tokens.tolist(), strict=True)):
            by_handle[handle].tokens.append(token)
            by_handle[handle].logprobs.append(None if outcome.logprobs is None else outcome.logprobs[i])
        for handle, reason in outcome.failed:
            by_handle[handle].failed = reason
        for job in batch:
            if job.done:
                drops.append(job.handle)
                self.free_pages += job.pages
                job.pages = []
        self.random.shuffle(self.free_pages)
        if drops:
            self.submit(dropped=tuple(drops))

    def submit(self, **parts):
        plan = IterationPlan(seq=self.seq, generation=self.facts.generation, **parts)
        self.seq += 1
        self.executor.submit(plan)
        outcome = self.executor.poll(None)
        assert outcome is not None and outcome.seq == plan.seq
        self.outcomes.append(outcome)
        return outcome

    def move(self, direction, jobs):
        """Move all pages of `jobs` and wait for it."""
        moves = []
        for job in jobs:
            moves.append(
                Move(self.move_id, direction, job.handle, np.array(job.pages, np.int32), np.array(job.slots, np.int32))
            )
            self.move_id += 1
        missing = {move.move_id for move in moves}
        missing -= set(self.submit(moves=tuple(moves)).landed)
        while missing:
            missing -= set(self.submit().landed)
        self.moves_done += len(moves)

    def evict(self, job):
        if self.swap and job.pages:
            job.slots = [self.free_slots.pop() for _ in job.pages]
            self.move(Direction.OUT, [job])
        elif self.recompute:
            self.submit(dropped=(job.handle,))
            job.admitted = False
        else:
            return
        self.free_pages += job.pages
        job.pages = []
        self.random.shuffle(self.free_pages)

    def bring_back(self, jobs, tables):
        for job in jobs:
            job.pages = [self.free_pages.pop() for _ in job.slots]
        self.move(Direction.IN, jobs)
        for job in jobs:
            tables.append(BlockTable(job.handle, np.array(job.pages, dtype=np.int32)))
            self.free_slots += job.slots
            job.slots = []
