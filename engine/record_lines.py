"""Events and outcomes as lines of a record.

Owns the JSON form of every event and of an outcome, both ways. It does not know files;
engine/record writes and reads them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..core.asked import OPTIONS, Asked
from ..core.events import (
    AccountAsked,
    CancelRequested,
    Event,
    PolicyChosen,
    PromptArrived,
    SnapshotAsked,
    Submitted,
)
from ..core.ids import Handle, MoveId, TenantId
from ..core.outcome import IterationOutcome
from ..core.sampling import SamplingParams

_PLAIN: dict[str, type[CancelRequested | PolicyChosen | AccountAsked | SnapshotAsked]] = {
    cls.__name__: cls for cls in (CancelRequested, PolicyChosen, AccountAsked, SnapshotAsked)
}


def line_of(event: Event) -> dict[str, Any]:
    """An event without prompt tokens."""
    match event:
        case Submitted():
            return {"event": "Submitted", **_submitted_line(event)}
        case PromptArrived():
            return {"event": "PromptArrived", "handle": event.handle, "tokens": len(event.prompt)}
        case _:
            return {"event": type(event).__name__, **dataclasses.asdict(event)}


def _submitted_line(event: Submitted) -> dict[str, Any]:
    line: dict[str, Any] = {}
    for field in dataclasses.fields(event):
        if field.name not in ("prompt", "generated", "asked"):
            line[field.name] = getattr(event, field.name)
        if field.name == "tenant":  # the place of the options in every record so far
            line |= event.asked.options()
    line["generated"] = None if event.generated is None else event.generated.tolist()
    line["sampling"] = dataclasses.asdict(event.asked.sampling)
    return line


def _asked_of(fields: dict[str, Any]) -> Asked:
    """Taken out of the fields of a line. An option that the record is too old for has its default."""
    options = {name: fields.pop(name) for name in OPTIONS if name in fields}
    return Asked(SamplingParams(**fields.pop("sampling")), **options)


def event_of(line: dict[str, Any]) -> Event:
    """The event of a line; raises KeyError, TypeError, ValueError or InvalidInput for another line."""
    fields = dict(line)
    name = fields.pop("event")
    if name == "Submitted":
        generated = fields.pop("generated")
        asked = _asked_of(fields)
        return Submitted(
            handle=Handle(fields.pop("handle")),
            tenant=TenantId(fields.pop("tenant")),
            generated=None if generated is None else np.array(generated, dtype=np.int32),
            asked=asked,
            **fields,
        )
    if name == "PromptArrived":
        return PromptArrived(Handle(fields["handle"]), np.zeros(int(fields["tokens"]), dtype=np.int32))
    return _PLAIN[name](**fields)


def outcome_line(outcome: IterationOutcome) -> dict[str, Any]:
    """An outcome without log-probabilities."""
    return {
        "seq": outcome.seq,
        "generation": outcome.generation,
        "started_ns": outcome.started_ns,
        "ended_ns": outcome.ended_ns,
        "handles": outcome.handles.tolist(),
        "tokens": outcome.tokens.tolist(),
        "landed": list(outcome.landed),
        "failed": [list(pair) for pair in outcome.failed],
    }


def outcome_of(line: dict[str, Any]) -> IterationOutcome:
    """The outcome of a line; raises KeyError, TypeError or ValueError for another line."""
    return IterationOutcome(
        seq=line["seq"],
        generation=line["generation"],
        started_ns=line["started_ns"],
        ended_ns=line["ended_ns"],
        handles=np.array(line["handles"], dtype=np.int64),
        tokens=np.array(line["tokens"], dtype=np.int32),
        landed=tuple(MoveId(move_id) for move_id in line["landed"]),
        failed=tuple((Handle(handle), str(why)) for handle, why in line["failed"]),
    )
