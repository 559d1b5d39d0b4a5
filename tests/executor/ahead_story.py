"""Stories of jobs as plans tell them, and a reader that lags behind: what an executor is given when
plans run ahead of their answers.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import dataclass, field

import numpy as np

from skipjoin.core.asked import Asked
from skipjoin.core.plan import Admit, BlockTable, DecodeBatch, IterationPlan, PrefillChunk
from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kvstore.device.pool import PoolShape

PAGE_TOKENS, PAGES_EACH, JOBS = 4, 12, 5

SAMPLINGS = {
    "greedy": SamplingParams(temperature=0.0),
    "seeded": SamplingParams(temperature=0.9, top_p=0.95, top_k=40),
    "repetition": SamplingParams(temperature=0.0, repetition_penalty=1.4),
    "presence": SamplingParams(temperature=0.7, presence_penalty=1.5),
    "frequency": SamplingParams(temperature=0.0, frequency_penalty=1.2),
    "log-probabilities": SamplingParams(temperature=0.0, logprobs=3),
    "everything": SamplingParams(temperature=0.8, repetition_penalty=1.2, frequency_penalty=0.8, logprobs=1),
}


@dataclass
class Member:
    """A job as whoever plans knows it: `had` tokens were read of `launched`; it left in the turn
    `left`.
    """

    handle: int
    place: int
    sampling: SamplingParams
    prompt: list[int]
    had: list[int] = field(default_factory=list)
    launched: int = 0
    admitted: int = 0
    computed: int = 0
    left: int = 0

    @property
    def length(self):
        return len(self.prompt) + self.launched


class Ahead:
    """Submits plans, and reads an outcome when `depth` of them are in flight."""

    def __init__(self, model, depth, kind=TorchExecutor, **options):
        self.executor = kind(model, PoolShape(JOBS * PAGES_EACH, 0, PAGE_TOKENS), **options)
        self.executor.start()
        self.depth, self.seq, self.members = depth, 0, deque()
        self.tokens, self.logprobs = defaultdict(list), defaultdict(list)

    def submit(self, members, **parts):
        self.seq += 1
        self.executor.submit(IterationPlan(seq=self.seq, generation=1, **parts))
        self.members.append(members)
        if len(self.members) == self.depth:
            self.read()

    def read(self):
        outcome, members = self.executor.poll(None), self.members.popleft()
        assert not outcome.failed
        for i, (handle, token) in enumerate(zip(outcome.handles.tolist(), outcome.tokens.tolist(), strict=True)):
            self.tokens[handle].append(token)
            self.logprobs[handle].append(None if outcome.logprobs is None else outcome.logprobs[i])
            members[handle].had.append(token)

    def drain(self):
        while self.members:
            self.read()
        self.executor.close()
        return dict(self.tokens), dict(self.logprobs)


class Story:
    """Plans that follow from a seed alone.

    Jobs come whole or in chunks, decode in changing company, sit out, are dropped while a token of
    theirs is in flight, and come again with all their tokens `depth` plans later, when those can be
    known; others take their rows and pages at once.
    """

    def __init__(self, samplings, seed, depth):
        self.random = random.Random(seed)
        self.samplings, self.depth = samplings, depth
        self.present: list[Member] = []
        self.away: list[Member] = []
        self.places = list(range(JOBS))
        self.turns = self.handles = self.rejoined = self.cut = self.kept = 0
        self.decode = DecodeBatch()

    def turn(self, ahead):
        self.turns += 1
        dropped = self.drop()
        decoding = [member for member in self.present if member.computed == member.admitted]
        coming = self.comers()
        self.present += coming
        admits = tuple(
            Admit(
                m.handle, np.array(m.prompt + m.had, np.int32), m.admitted, len(m.prompt), Asked(m.sampling), m.handle
            )
            for m in coming
        )
        tables = tuple(BlockTable(m.handle, np.arange(PAGES_EACH, dtype=np.int32) * JOBS + m.place) for m in coming)
        prefills = tuple(self.chunks())
        if dropped or self.random.random() < 0.25:
            some = [member.handle for member in decoding if self.random.random() < 0.8]
            self.random.shuffle(some)
            self.decode = DecodeBatch(np.array(some, dtype=np.int64))
        else:
            self.kept += len(self.decode) > 0
        for member in decoding:
            member.launched += member.handle in self.decode.handles
        members = {member.handle: member for member in self.present}
        ahead.submit(members, dropped=dropped, admits=admits, tables=tables, decode=self.decode, prefills=prefills)

    def drop(self):
        """Whoever is full, and now and then somebody else, whether or not all that was launched for
        it has been read.
        """
        full = PAGES_EACH * PAGE_TOKENS - 2
        leaving = [member for member in self.present if self.random.random() < 0.06 or member.length >= full]
        for member in leaving:
            self.present.remove(member)
            self.places.append(member.place)
            self.cut += len(member.had) < member.launched
            member.left = self.turns
            if member.length < full // 2:
                self.away.append(member)
        return tuple(member.handle for member in leaving)

    def comers(self):
        coming = []
        for member in list(self.away):
            if self.places and self.turns - member.left >= self.depth - 1 and self.random.random() < 0.4:
                assert len(member.had) == member.launched
                self.away.remove(member)
                member.place = self.places.pop(0)
                coming.append(member)
                self.rejoined += 1
        while self.places and self.random.random() < 0.5:
            # Few different tokens, so that penalties have something to go by.
            prompt = [self.random.randrange(6) for _ in range(self.random.randrange(1, 12))]
            coming.append(Member(self.handles, self.places.pop(0), self.random.choice(self.samplings), prompt))
            self.handles += 1
        for member in coming:
            member.admitted, member.computed = member.length, 0
        return coming

    def chunks(self):
        for member in self.present:
            missing = member.admitted - member.computed
            if missing and self.random.random() < 0.8:
                length = min(self.random.choice([2, 5, 99]), missing)
                yield PrefillChunk(member.handle, member.computed, length, last=length == missing)
                member.computed += length
                member.launched += length == missing


def told(model, names, seed, depth, read_at, plans=90, **options):
    """(story, tokens by job, log-probabilities by job) of the story that allows for `depth`, with
    `read_at` plans in flight.
    """
    story, ahead = Story([SAMPLINGS[name] for name in names], seed, depth), Ahead(model, read_at, **options)
    for _ in range(plans):
        story.turn(ahead)
    return story, *ahead.drain()
