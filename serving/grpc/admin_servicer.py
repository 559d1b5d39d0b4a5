"""AdminService: the operator's calls, on a unix socket of their own.

Owns the way between admin messages and the door's parts. It sees every tenant; the socket's file
rights are its guard. `skipjoin admin` calls it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ...core.clock import Clock
from ...core.effects import SnapshotGiven
from ...core.errors import InvalidInput, Unavailable
from ...core.events import PolicyChosen
from ...core.ids import JobId, TenantId
from ...core.view import JobView
from ...proto import admin_pb2 as pb
from ...proto import convert, terms
from ..door.claimed import ClaimedJob
from ..door.jobs import Jobs
from ..door.policies import check_policy, dial_of
from ..door.questions import Questions
from ..door.supervisor import Supervisor
from ..door.turns import in_turns
from .rpc import Caller, Streaming, Unary

MAX_LIVE = 100
"""Jobs of a page that the engine is asked about."""


@dataclass(frozen=True, slots=True)
class AdminServicer:
    """`begin_drain(seconds | None)` starts the end; `tail` is the configured dial, of a policy that
    is switched to without one.
    """

    jobs: Jobs
    supervisor: Supervisor
    questions: Questions
    clock: Clock
    started_ns: int
    version: str
    pool_name: str
    tail: float
    begin_drain: Callable[[float | None], None]
    draining: Callable[[], bool]

    def methods(self) -> dict[str, Unary | Streaming]:
        """What `Gate.serve` takes."""
        return {
            "GetStatus": self.get_status,
            "ListJobs": self.list_jobs,
            "GetJob": self.get_job,
            "GetQueues": self.get_queues,
            "GetKv": self.get_kv,
            "CancelJob": self.cancel_job,
            "SetPolicy": self.set_policy,
            "Drain": self.drain,
            "GetExecutors": self.get_executors,
        }

    async def get_status(self, request: pb.GetStatusRequest, caller: Caller) -> pb.GetStatusResponse:
        """What the server is doing."""
        depth = await self.jobs.store.scan(lambda reader: reader.depth())
        snapshot = await self.questions.snapshot()
        facts = self.supervisor.facts
        status = pb.ServerStatus(
            version=self.version,
            policy=snapshot.policy if snapshot is not None else facts.policy if facts is not None else "",
            model=facts.words.model_name if facts is not None else "",
            device=facts.words.device if facts is not None else "",
            job_pool=self.pool_name,
            durable=self.jobs.store.durable,
            draining=self.draining(),
            engine_ready=self.supervisor.ready,
            incarnation=self.supervisor.incarnation,
            engine_restarts=max(0, self.supervisor.incarnation - 1),
            uptime_ns=self.clock.now_ns() - self.started_ns,
            accepted_jobs=depth.accepted,
            claimed_jobs=depth.claimed,
            final_jobs=depth.final,
            live_jobs=len(self.jobs.table.jobs),
            running_jobs=snapshot.running_jobs if snapshot is not None else 0,
            tail=snapshot.tail if snapshot is not None else None,
        )
        return pb.GetStatusResponse(status=status)

    async def list_jobs(self, request: pb.ListJobsRequest, caller: Caller) -> pb.ListJobsResponse:
        """A page of all tenants' jobs, or of one's."""
        tenant = TenantId(request.tenant) if request.HasField("tenant") else None
        states = terms.states_from_wire(request.states)
        page = await self.jobs.list(tenant, states, request.page_size, request.page_token)
        answer = pb.ListJobsResponse(next_page_token=page.next_page_token)
        async for job in in_turns(page.jobs, convert.job_to_wire, self.jobs.turns):
            answer.jobs.append(job)
        for job_id, said in await self._live([job.job_id for job in page.jobs]):
            answer.live[job_id].CopyFrom(said)
        return answer

    async def _live(self, job_ids: list[JobId]) -> list[tuple[str, pb.LiveJob]]:
        """What the engine says of those that it holds, of so many at most."""
        table = self.jobs.table.jobs
        held = [table[job_id] for job_id in job_ids if job_id in table][:MAX_LIVE]
        answers = await asyncio.gather(*(self._live_job(claimed) for claimed in held))
        return [(claimed.job_id, said) for claimed, said in zip(held, answers, strict=True) if said is not None]

    async def _live_job(self, claimed: ClaimedJob) -> pb.LiveJob | None:
        given = None if claimed.handle is None else await self.questions.account(claimed.handle)
        if given is None or given.account is None:
            return None
        account = terms.account_to_wire(given.account)
        return pb.LiveJob(phase=given.phase or "", level=given.level or 0, account=account)

    async def get_job(self, request: pb.GetJobRequest, caller: Caller) -> pb.GetJobResponse:
        """One job, with its account so far where the engine holds it."""
        job: JobView = await self.jobs.get(request.job_id, None)
        response = pb.GetJobResponse(job=convert.job_to_wire(job))
        for _, said in await self._live([job.job_id]):
            response.live.CopyFrom(said)
        return response

    async def get_queues(self, request: pb.GetQueuesRequest, caller: Caller) -> pb.GetQueuesResponse:
        """Jobs by level."""
        snapshot = await self._snapshot()
        depth = await self.jobs.store.scan(lambda reader: reader.depth())
        levels = [
            pb.LevelDepth(level=row.level, jobs=row.jobs, running=row.running, oldest_wait_ns=row.oldest_wait_ns)
            for row in snapshot.levels
        ]
        return pb.GetQueuesResponse(policy=snapshot.policy, levels=levels, accepted_jobs=depth.accepted)

    async def get_kv(self, request: pb.GetKvRequest, caller: Caller) -> pb.GetKvResponse:
        """Pages by residency."""
        kv, facts = (await self._snapshot()).kv, self.supervisor.facts
        assert facts is not None, "there is no snapshot before an engine"
        names = [field.name for field in pb.KvDepth.DESCRIPTOR.fields]
        return pb.GetKvResponse(
            kv=pb.KvDepth(**{name: getattr(kv, name) for name in names}),
            page_tokens=facts.executor.page_tokens,
            page_bytes=facts.executor.page_bytes,
        )

    async def cancel_job(self, request: pb.CancelJobRequest, caller: Caller) -> pb.CancelJobResponse:
        """End any tenant's job."""
        return pb.CancelJobResponse(
            job=convert.job_to_wire(await self.jobs.cancel(request.job_id, None, request.reason))
        )

    async def set_policy(self, request: pb.SetPolicyRequest, caller: Caller) -> pb.SetPolicyResponse:
        """Switch the policy of the engine that runs, and of those that follow it."""
        policy = request.policy
        check_policy(policy)
        asked = request.tail if request.HasField("tail") else None
        tail = dial_of(policy, asked, self.tail)
        snapshot = await self._snapshot()
        if asked is None and snapshot.policy == policy:
            tail = snapshot.tail  # who says nothing of the dial turns it nowhere
        self.supervisor.choose_policy(policy, tail)
        await self.supervisor.send([PolicyChosen(policy, tail)])
        return pb.SetPolicyResponse(previous=snapshot.policy, policy=policy, tail=tail)

    async def drain(self, request: pb.DrainRequest, caller: Caller) -> pb.DrainResponse:
        """Begin the end."""
        seconds = terms.duration_from_wire(request.timeout, "timeout") / 1e9 if request.HasField("timeout") else None
        if seconds is not None and seconds < 0:
            raise InvalidInput("timeout is negative.", field="timeout", limit="at least 0 s")
        self.begin_drain(seconds)
        return pb.DrainResponse(live_jobs=len(self.jobs.table.jobs))

    async def get_executors(self, request: pb.GetExecutorsRequest, caller: Caller) -> pb.GetExecutorsResponse:
        """The ranks; the step time of the first is the turns'."""
        rows = [] if not self.supervisor.ready else self.supervisor.executors
        answer = pb.GetExecutorsResponse(ranks=rows, restarts=max(0, self.supervisor.incarnation - 1))
        if answer.ranks:
            answer.ranks[0].step_ns = self.supervisor.patience.steps.median_ns
        return answer

    async def _snapshot(self) -> SnapshotGiven:
        snapshot = await self.questions.snapshot()
        if snapshot is None:
            raise Unavailable("There is no engine that could answer; try again.")
        return snapshot
