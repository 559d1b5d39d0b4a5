"""What goes between door and engine: a drain's events and a turn's effects, as bytes.

Owns the batches with their incarnation. It knows no socket and no length prefix (proto/frames) and
leaves each event and effect to proto/events and proto/effects. The door and the engine call it;
malformed bytes raise InvariantViolation, for both ends are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.effects import TurnEffects
from ..core.errors import InvalidInput, InvariantViolation
from ..core.events import Event
from . import engine_pb2 as pb
from .effects import read_effect, read_tokens, stats_from_wire, write_effect, write_stats, write_tokens
from .events import read_event, write_event


def encode_events(incarnation: int, events: Sequence[Event]) -> bytes:
    """A DoorFrame message with these events."""
    frame = pb.DoorFrame()
    batch = frame.events
    batch.incarnation = incarnation
    for event in events:
        write_event(batch.events.add(), event)
    return frame.SerializeToString()


def events_of(batch: pb.EventBatch) -> list[Event]:
    """The events of a batch, in order."""
    try:
        return [read_event(message) for message in batch.events]
    except InvalidInput as error:
        raise InvariantViolation(f"An event on the engine's socket is malformed: {error}") from error


def encode_effects(incarnation: int, effects: TurnEffects) -> bytes:
    """An EngineFrame message with a turn's effects."""
    frame = pb.EngineFrame()
    batch = frame.effects
    batch.incarnation = incarnation
    write_stats(batch.stats, effects.stats)
    if effects.tokens is not None:
        write_tokens(batch.tokens, effects.tokens)
    for effect in effects.effects:
        write_effect(batch.effects.add(), effect)
    return frame.SerializeToString()


def effects_of(batch: pb.EffectBatch) -> TurnEffects:
    """A turn's effects, in order."""
    try:
        tokens = read_tokens(batch.tokens) if batch.HasField("tokens") else None
        effects = tuple(read_effect(message) for message in batch.effects)
    except InvalidInput as error:
        raise InvariantViolation(f"An effect on the engine's socket is malformed: {error}") from error
    return TurnEffects(stats_from_wire(batch.stats), tokens, effects)
