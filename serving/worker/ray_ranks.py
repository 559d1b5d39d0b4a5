"""Ranks that a Ray cluster places.

Owns the placement group and the tasks in it, one for each rank but the first: a task is what
`skipjoin rank` is, for one engine. Ray starts them and no more; plans and tensors do not pass
through it. It is the only module that knows Ray, which it imports when `--ranks ray` asks for it.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Sequence
from typing import Any

from ...core.clock import Clock, MonotonicClock
from ...core.errors import ExecutorLost, InvalidSettings
from ...executor.ranks.addresses import LOOPBACK
from ...executor.ranks.channel import Channel
from ...executor.ranks.secret import NONCE_BYTES, Secret
from ..settings import ServeSettings, is_loopback, split_address
from .arrivals import Arrivals
from .berth import Berth
from .joining import Joining
from .rank_part import Steps

log = logging.getLogger("skipjoin.engine")
_LOOK_S = 0.2


class RayRanks:
    """Ranks 1 to `world` - 1, on nodes of the cluster that RAY_ADDRESS or this machine names."""

    def __init__(self, settings: ServeSettings, world: int, steps: Steps, clock: Clock | None = None) -> None:
        """Place them and wait until they are there. Raises InvalidSettings without Ray or a cluster,
        ExecutorLost where there is no room in it or a rank does not come.
        """
        self._ray = _connected()
        address = (LOOPBACK, 0) if settings.ranks_listen is None else split_address(settings.ranks_listen)
        # Whoever reaches a Ray cluster may run what he likes in it: it may carry the secret too.
        key = secrets.token_bytes(NONCE_BYTES)
        try:
            self._refuse_unreachable(address[0])
            self._arrivals = Arrivals(address, Secret(key), world)
        except BaseException:
            self._ray.shutdown()
            raise
        self.meeting = self._arrivals.meeting
        try:
            group = self._placed(settings, world - 1, steps, clock or MonotonicClock())
            self._tasks = [self._begun(settings, group, rank, world, key) for rank in range(1, world)]
            self._arrivals.wait(settings.ranks_wait_s, steps)
        except BaseException:
            self.close()
            raise

    @property
    def channels(self) -> Sequence[Channel]:
        """To rank 1 and those behind it."""
        return self._arrivals.channels

    def close(self) -> None:
        """End them: their connections, and with them what Ray holds for this engine; idempotent."""
        self._arrivals.close()
        self._ray.shutdown()

    def _refuse_unreachable(self, host: str) -> None:
        here = self._ray.util.get_node_ip_address()
        others = {node["NodeManagerAddress"] for node in self._ray.nodes() if node["Alive"]} - {here, LOOPBACK}
        if others and is_loopback(host):
            raise InvalidSettings(
                "The Ray cluster has other machines, which cannot reach rank 0 at a loopback address.",
                field="ranks_listen",
                limit="HOST:PORT, an address of this machine that they reach",
            )

    def _placed(self, settings: ServeSettings, ranks: int, steps: Steps, clock: Clock) -> Any:
        """A placement group with a bundle for each."""
        from ray.util.placement_group import placement_group

        bundle = {"CPU": 1} | ({"GPU": 1} if _on_gpus(settings) else {})
        group = placement_group([bundle] * ranks, strategy="SPREAD")
        steps.step("waiting for room in the Ray cluster")
        until_ns = clock.now_ns() + int(settings.ranks_wait_s * 1e9)
        while not group.wait(_LOOK_S):
            steps.beat()
            if clock.now_ns() >= until_ns:
                raise ExecutorLost(
                    f"The Ray cluster has had no room for {ranks} ranks, each {bundle}, for"
                    f" {settings.ranks_wait_s:g} s; add nodes to it or serve with fewer ranks.",
                    field="ranks_wait_s",
                )
        return group

    def _begun(self, settings: ServeSettings, group: Any, rank: int, world: int, key: bytes) -> Any:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        task = self._ray.remote(be_rank).options(
            num_cpus=1,
            num_gpus=1 if _on_gpus(settings) else 0,
            max_retries=0,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank - 1),
        )
        return task.remote(rank, world, self._arrivals.host, self._arrivals.port, key, settings.ranks_wait_s)


def be_rank(rank: int, world: int, host: str, port: int, key: bytes, wait_s: float) -> int:
    """Runs in the cluster: be this rank for one engine; the exit code of its process. Ray shows a
    task with a GPU that one alone, so that it is the first.
    """
    return Joining(Berth(rank, world), (host, port), Secret(key), wait_s).once()


def _connected() -> Any:
    """Ray, connected to its cluster. Raises InvalidSettings."""
    try:
        import ray
    except ImportError:
        raise InvalidSettings(
            "Ranks that Ray places need Ray: pip install 'skipjoin[ray]', in a clone '.[ray]'.", field="ranks"
        ) from None
    try:
        ray.init(os.environ.get("RAY_ADDRESS") or "auto", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError):
        raise InvalidSettings(
            "There is no Ray cluster here: start one with `ray start --head`, or name it with RAY_ADDRESS.",
            field="ranks",
        ) from None
    return ray


def _on_gpus(settings: ServeSettings) -> bool:
    from ...executor.capacity import resolve_device

    return resolve_device(settings.device).type == "cuda"
