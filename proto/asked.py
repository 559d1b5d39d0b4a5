"""What a caller asks, in messages.

Owns `Asked` <-> the fields of the messages that carry one: `JobSpec`, `Job` and the engine's
`Submitted`, which name them alike. It knows no other field of theirs. proto/convert and
proto/events call it.
"""

from __future__ import annotations

from typing import Any

from ..core.asked import OPTIONS, Asked
from ..core.sampling import SamplingParams
from . import engine_pb2, job_pool_pb2
from .terms import sampling_from_wire, sampling_to_wire


def asked_fields(asked: Asked, given: frozenset[str] | None = None) -> dict[str, Any]:
    """Returns the keyword arguments of such a message.

    `given` names the sampling fields to write, None writes all. With none given, sampling is unset.
    """
    sampling = sampling_to_wire(asked.sampling, given) if given is None or given else None
    return {"sampling": sampling, **asked.options()}


def asked_from_wire(
    message: job_pool_pb2.JobSpec | job_pool_pb2.Job | engine_pb2.Submitted, defaults: SamplingParams | None = None
) -> Asked:
    """Returns what such a message asks; unset sampling fields come from `defaults`.

    Raises InvalidInput naming the field.
    """
    sampling = sampling_from_wire(message.sampling, defaults)
    fields: Any = message  # the stubs know fields by literal names only
    unset = {name for name, option in OPTIONS.items() if option.default is None and not fields.HasField(name)}
    return Asked(sampling, **{name: getattr(fields, name) for name in OPTIONS if name not in unset})
