"""One rank's part of a model, from the settings.

Owns what every rank does alike before it takes plans: device and precision, meeting the others,
loading its part of the weights, and asking how much KV there is room for. `torch_parts` calls it
for rank 0, `rank_process` for the others. How a model is split it does not know: model/weights
does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ...core.clock import Clock
from ...executor.capacity import pool_shape, resolve_device, resolve_dtype, use_threads
from ...executor.ranks.grid import Seat
from ...executor.ranks.group import RankGroup, join
from ...executor.ranks.meeting import Meeting
from ...executor.runner import TorchExecutor
from ...kernels.native.library import compile_ahead
from ...kvstore.device.pool import PoolShape
from ...model.config import load_config
from ...model.stage import stages_of
from ...model.weights.digest import weights_digest
from ...model.weights.loaded import LoadedModel
from ...model.weights.loading import load_model
from ...proto import admin_pb2
from ..settings import ServeSettings
from .berth import ALONE, Berth

MEETING_S = 60.0
"""How long a rank waits for the others where they meet."""


class Steps(Protocol):
    """What hears how far a start is."""

    def step(self, name: str) -> None:
        """The start has come to this step."""
        ...

    def advanced(self, done: int, total: int) -> None:
        """`done` of `total` of the present step."""
        ...

    def beat(self) -> None:
        """The present step goes on."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Which rank of how many this is, and where they meet; None for one alone."""

    berth: Berth = ALONE
    meeting: Meeting | None = None


@dataclass(frozen=True, slots=True)
class RankPart:
    """A loaded part. `weight_bytes`: in the precision served. `room`: the pools that this rank
    could have. `digest`: of the files it was read from; all ranks must have read the same.
    """

    model: LoadedModel
    group: RankGroup | None
    weight_bytes: int
    room: PoolShape
    digest: str

    def executor(
        self, settings: ServeSettings, shape: PoolShape, generation: int, clock: Clock, beat: Callable[[], None]
    ) -> TorchExecutor:
        """An executor of this part, to be started on all ranks at a time."""
        return TorchExecutor(
            self.model,
            shape,
            generation=generation,
            clock=clock,
            graph_rows=settings.max_batch if settings.cuda_graphs else 0,
            group=self.group,
            beat=beat,
        )


def load_part(settings: ServeSettings, place: Place, steps: Steps) -> RankPart:
    """Meet the other ranks and load. Raises InvalidModel, InvalidInput, ExecutorLost."""
    assert settings.folder is not None, "settings ask for a model with this executor"
    berth = place.berth
    # One plan is under way at a time, so stages compute in turn and each has all threads.
    use_threads(settings.threads, min(berth.local_world, settings.tensor_parallel))
    device = resolve_device(settings.device, berth.local_rank if berth.world > 1 else None)
    dtype = resolve_dtype(settings.dtype, device)
    steps.step("compiling its kernels")
    if device.type == "cpu":
        compile_ahead(dtype, steps.beat)
    group = None
    if place.meeting is not None:
        steps.step("meeting the other ranks")
        seat = Seat(berth.rank, settings.tensor_parallel, settings.pipeline_parallel)
        group = join(place.meeting, seat, device, MEETING_S)
    steps.step("loading its weights")
    read = 0

    def advanced(done: int, total: int) -> None:
        nonlocal read
        read = done
        steps.advanced(done, total)

    model = load_model(
        settings.folder,
        device,
        dtype,
        advanced,
        collectives=group if settings.tensor_parallel > 1 else None,
        ring=group if settings.pipeline_parallel > 1 else None,
        sharing=berth.local_world,
    )
    steps.step("making room for KV")
    room = pool_shape(
        model,
        kv_tokens=settings.kv_tokens,
        host_kv_tokens=settings.host_kv_tokens,
        max_batch=settings.max_batch,
        sharing=berth.local_world,
    )
    return RankPart(model, group, read, room, weights_digest(settings.folder))


def share_of(part: RankPart, settings: ServeSettings) -> admin_pb2.RankShare:
    """How much of the model the part is, for an operator."""
    assert settings.folder is not None, "a part was read from a folder"
    own, whole = part.model.config, load_config(settings.folder)
    layers = stages_of(whole, settings.pipeline_parallel)[0 if part.group is None else part.group.stage].layers
    return admin_pb2.RankShare(
        heads=own.heads,
        of_heads=whole.heads,
        kv_heads=own.kv_heads,
        of_kv_heads=whole.kv_heads,
        columns=own.intermediate,
        of_columns=whole.intermediate,
        first_layer=layers.start,
        layers=len(layers),
        of_layers=whole.layers,
    )
