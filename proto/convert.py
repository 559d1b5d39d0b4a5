"""Public messages and core values: a pair of functions for each.

Owns `*_to_wire` and `*_from_wire` for jobs and streams of job_pool.proto. It knows no server and
does no input checks but those that the core values make themselves; it imports no numpy, for the
SDK uses it too. Nonsense in a message raises InvalidInput naming the field.
"""

from __future__ import annotations

from ..core.errors import InvalidInput
from ..core.ids import JobId, Level, TenantId
from ..core.sampling import SamplingParams
from ..core.view import NOTHING_GIVEN, ChatMessage, Chunk, Finish, JobEvent, JobList, JobSpec, JobView
from . import job_pool_pb2 as pb
from .asked import asked_fields, asked_from_wire
from .terms import (
    CAUSE_TO_WIRE,
    KIND_TO_WIRE,
    REASON_TO_WIRE,
    STATE_TO_WIRE,
    account_from_wire,
    account_to_wire,
    cause_from_wire,
    duration_from_wire,
    failure_from_wire,
    failure_to_wire,
    kind_from_wire,
    logprobs_from_wire,
    logprobs_to_wire,
    reason_from_wire,
    state_from_wire,
    time_to_wire,
)


def spec_to_wire(spec: JobSpec) -> pb.JobSpec:
    """What is asked, for Submit and Generate."""
    message = pb.JobSpec(
        cancel_on_disconnect=spec.cancel_on_disconnect, **asked_fields(spec.asked, spec.sampling_given)
    )
    if spec.text is not None:
        try:
            message.text = spec.text
        except UnicodeEncodeError:
            raise InvalidInput("The prompt holds a lone surrogate, which is no text.", field="text") from None
    elif spec.token_ids is not None:
        message.token_ids.SetInParent()
        try:
            message.token_ids.ids.extend(spec.token_ids)
        except (ValueError, TypeError):
            raise InvalidInput("Each token id must be a 32-bit number.", field="token_ids") from None
    elif spec.messages is not None:
        message.messages.SetInParent()
        try:
            for said in spec.messages:
                message.messages.messages.add(role=said.role, content=said.content, name=said.name)
        except UnicodeEncodeError:
            raise InvalidInput("A message holds a lone surrogate, which is no text.", field="messages") from None
    if spec.timeout_ns is not None:
        message.timeout.FromNanoseconds(spec.timeout_ns)
    return message


def spec_from_wire(message: pb.JobSpec, defaults: SamplingParams | None = None) -> JobSpec:
    """What is asked; sampling fields that are unset come from `defaults`. Raises InvalidInput
    naming the field.
    """
    kind = message.WhichOneof("prompt")
    samples = message.HasField("sampling")
    asked = asked_from_wire(message, defaults if samples else None)
    return JobSpec(
        text=message.text if kind == "text" else None,
        token_ids=tuple(message.token_ids.ids) if kind == "token_ids" else None,
        messages=tuple(
            ChatMessage(m.role, m.content, m.name if m.HasField("name") else None) for m in message.messages.messages
        )
        if kind == "messages"
        else None,
        asked=asked,
        sampling_given=None if samples else NOTHING_GIVEN,
        timeout_ns=duration_from_wire(message.timeout, "timeout") if message.HasField("timeout") else None,
        cancel_on_disconnect=message.cancel_on_disconnect,
    )


def job_to_wire(job: JobView) -> pb.Job:
    """A job as its owner sees it."""
    message = pb.Job(
        job_id=job.job_id,
        tenant=job.tenant,
        request_id=job.request_id,
        state=STATE_TO_WIRE[job.state],
        prompt_tokens=job.prompt_tokens,
        output_tokens=job.output_tokens,
        submit_time=time_to_wire(job.submitted_unix_ns),
        failure=failure_to_wire(job.failure),
        account=None if job.account is None else account_to_wire(job.account),
        cancel_requested=job.cancel_requested,
        cancel_on_disconnect=job.cancel_on_disconnect,
        **asked_fields(job.asked),
    )
    if job.finish is not None:
        message.finish_reason = REASON_TO_WIRE[job.finish]
    if job.deadline_unix_ns is not None:
        message.expire_time.CopyFrom(time_to_wire(job.deadline_unix_ns))
    if job.finished_unix_ns is not None:
        message.finish_time.CopyFrom(time_to_wire(job.finished_unix_ns))
    return message


def job_from_wire(message: pb.Job) -> JobView:
    """A job as its owner sees it."""
    return JobView(
        job_id=JobId(message.job_id),
        state=state_from_wire(message.state),
        prompt_tokens=message.prompt_tokens,
        asked=asked_from_wire(message),
        submitted_unix_ns=message.submit_time.ToNanoseconds(),
        tenant=TenantId(message.tenant),
        request_id=message.request_id if message.HasField("request_id") else None,
        output_tokens=message.output_tokens,
        deadline_unix_ns=message.expire_time.ToNanoseconds() if message.HasField("expire_time") else None,
        finished_unix_ns=message.finish_time.ToNanoseconds() if message.HasField("finish_time") else None,
        finish=reason_from_wire(message.finish_reason) if message.finish_reason else None,
        failure=failure_from_wire(message.failure) if message.HasField("failure") else None,
        account=account_from_wire(message.account) if message.HasField("account") else None,
        cancel_requested=message.cancel_requested,
        cancel_on_disconnect=message.cancel_on_disconnect,
    )


def jobs_from_wire(message: pb.ListResponse) -> JobList:
    """A page of jobs."""
    return JobList(tuple(job_from_wire(job) for job in message.jobs), message.next_page_token)


def finish_to_wire(finish: Finish) -> pb.Finish:
    """The last word about a job."""
    return pb.Finish(
        reason=REASON_TO_WIRE[finish.reason],
        failure=failure_to_wire(finish.failure),
        output_tokens=finish.output_tokens,
        account=None if finish.account is None else account_to_wire(finish.account),
    )


def finish_from_wire(message: pb.Finish) -> Finish:
    """The last word about a job."""
    return Finish(
        reason=reason_from_wire(message.reason),
        output_tokens=message.output_tokens,
        failure=failure_from_wire(message.failure) if message.HasField("failure") else None,
        account=account_from_wire(message.account) if message.HasField("account") else None,
    )


def chunk_to_wire(chunk: Chunk) -> pb.Chunk:
    """Tokens of a stream."""
    return pb.Chunk(
        offset=chunk.offset,
        token_ids=chunk.token_ids,
        text=chunk.text,
        logprobs=None if chunk.logprobs is None else [logprobs_to_wire(entry) for entry in chunk.logprobs],
        finish=None if chunk.finish is None else finish_to_wire(chunk.finish),
    )


def chunk_from_wire(message: pb.Chunk) -> Chunk:
    """Tokens of a stream. Raises InvalidInput when logprobs are neither absent nor one a token."""
    if message.logprobs and len(message.logprobs) != len(message.token_ids):
        raise InvalidInput("logprobs must be absent or one a token.", field="logprobs")
    return Chunk(
        offset=message.offset,
        token_ids=tuple(message.token_ids),
        text=message.text,
        logprobs=tuple(logprobs_from_wire(entry) for entry in message.logprobs) if message.logprobs else None,
        finish=finish_from_wire(message.finish) if message.HasField("finish") else None,
    )


def event_to_wire(event: JobEvent) -> pb.JobEvent:
    """What happens to a job now."""
    message = pb.JobEvent(
        kind=KIND_TO_WIRE[event.kind],
        time=time_to_wire(event.unix_ns),
        level=event.level,
        old_level=event.old_level,
        tokens=event.tokens,
    )
    if event.cause is not None:
        message.cause = CAUSE_TO_WIRE[event.cause]
    return message


def event_from_wire(message: pb.JobEvent) -> JobEvent:
    """What happens to a job now."""
    return JobEvent(
        kind=kind_from_wire(message.kind),
        unix_ns=message.time.ToNanoseconds(),
        level=Level(message.level) if message.HasField("level") else None,
        old_level=Level(message.old_level) if message.HasField("old_level") else None,
        cause=cause_from_wire(message.cause) if message.cause else None,
        tokens=message.tokens if message.HasField("tokens") else None,
    )
