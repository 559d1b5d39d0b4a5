"""Events of the engine and their messages.

Owns the pair of functions for every event of core/events.py. It knows no socket and no batch;
proto/batches calls it.
"""

from __future__ import annotations

from ..core import events as ev
from ..core.errors import InvariantViolation
from ..core.ids import Handle, TenantId
from . import engine_pb2 as pb
from .asked import asked_fields, asked_from_wire
from .columns import int32_bytes, int32_column


def write_event(message: pb.EngineEvent, event: ev.Event) -> None:
    """Fill an empty message."""
    match event:
        case ev.Submitted():
            _write_submitted(message.submitted, event)
        case ev.PromptArrived():
            message.prompt_arrived.handle = event.handle
            message.prompt_arrived.prompt = int32_bytes(event.prompt)
        case ev.CancelRequested():
            message.cancel_requested.handle = event.handle
        case ev.PolicyChosen():
            message.policy_chosen.MergeFrom(pb.PolicyChosen(policy=event.policy, tail=event.tail))
        case ev.AccountAsked():
            message.account_asked.handle = event.handle
            message.account_asked.question = event.question
        case ev.SnapshotAsked():
            message.snapshot_asked.question = event.question


def read_event(message: pb.EngineEvent) -> ev.Event:
    """The event of a message. Raises InvariantViolation when it holds none."""
    match message.WhichOneof("event"):
        case "submitted":
            return _read_submitted(message.submitted)
        case "prompt_arrived":
            arrived = message.prompt_arrived
            return ev.PromptArrived(Handle(arrived.handle), int32_column(arrived.prompt))
        case "cancel_requested":
            return ev.CancelRequested(Handle(message.cancel_requested.handle))
        case "policy_chosen":
            chosen = message.policy_chosen
            return ev.PolicyChosen(chosen.policy, chosen.tail if chosen.HasField("tail") else None)
        case "account_asked":
            return ev.AccountAsked(Handle(message.account_asked.handle), message.account_asked.question)
        case "snapshot_asked":
            return ev.SnapshotAsked(message.snapshot_asked.question)
        case _:
            raise InvariantViolation("An event on the engine's socket is empty.")


def _write_submitted(message: pb.Submitted, event: ev.Submitted) -> None:
    # MergeFrom of a message made by keyword is faster than setting field by field.
    message.MergeFrom(
        pb.Submitted(
            handle=event.handle,
            prompt_tokens=event.prompt_tokens,
            arrival_ns=event.arrival_ns,
            tenant=event.tenant,
            earlier_output_tokens=event.earlier_output_tokens,
            prompt=None if event.prompt is None else int32_bytes(event.prompt),
            has_prompt=event.has_prompt,
            generated=None if event.generated is None else int32_bytes(event.generated),
            deadline_ns=event.deadline_ns,
            alone=event.alone,
            output_tokens=event.output_tokens,
            **asked_fields(event.asked),
        )
    )


def _read_submitted(message: pb.Submitted) -> ev.Submitted:
    return ev.Submitted(
        handle=Handle(message.handle),
        prompt_tokens=message.prompt_tokens,
        asked=asked_from_wire(message),
        arrival_ns=message.arrival_ns,
        tenant=TenantId(message.tenant),
        earlier_output_tokens=message.earlier_output_tokens,
        prompt=int32_column(message.prompt) if message.HasField("prompt") else None,
        has_prompt=message.has_prompt,
        generated=int32_column(message.generated) if message.HasField("generated") else None,
        deadline_ns=message.deadline_ns if message.HasField("deadline_ns") else None,
        alone=message.alone,
        output_tokens=message.output_tokens if message.HasField("output_tokens") else None,
    )
