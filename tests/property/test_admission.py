"""What a policy may ask of admission: room for growth, and nobody new below a job that waits to
come back.
"""

from __future__ import annotations

import pytest

from skipjoin.core.effects import Finished, Started
from skipjoin.core.policy import PLAIN_ADMISSION, Admission
from skipjoin.scheduler.registry import POLICY_NAMES

from .test_turn_rules import job, members, params
from .world import World


def asking(admission: Admission, *, device_pages: int, host_pages: int) -> World:
    world = World("srpt-oracle", params(16), device_pages=device_pages, host_pages=host_pages)
    vars(world.state.policy)["admission"] = admission
    return world


@pytest.mark.parametrize(("spare_tokens", "entered"), [(0, 10), (1, 8), (16, 5), (32, 3), (4000, 1)])
def test_whoever_enters_finds_room_for_the_growth_of_all_before_it_and_its_own(spare_tokens: int, entered: int) -> None:
    """40 pages of 4 tokens, prompts of 4 pages: the n-th is admitted when 4n pages and n times the
    spare ones are there.
    """
    world = asking(Admission(spare_tokens=spare_tokens), device_pages=40, host_pages=0)
    world.step([job(handle, 13, 3) for handle in range(10)])
    assert len(members(world)[0]) == entered  # the first has the pool to itself
    world.drain()


def story(admission: Admission) -> list[str]:
    """Job 0 is evicted by job 1, which is shorter and large; job 2 is long, small and new."""
    world = asking(admission, device_pages=20, host_pages=40)
    world.step([job(0, 30, 40)])
    for _ in range(4):
        world.step()
    world.step([job(1, 52, 8), job(2, 4, 70)])
    told = []
    for _ in range(200):
        for effect in world.step().effects:
            if isinstance(effect, (Started, Finished)):
                told.append(f"{type(effect).__name__} {effect.handle}")
    world.drain()
    return told


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_a_newcomer_passes_a_large_job_that_waits_to_come_back(share: float) -> None:
    told = story(Admission(holds_below=share))
    assert told.index("Started 2") < told.index("Finished 1")


def test_nobody_new_enters_below_a_job_that_is_held_for() -> None:
    told = story(Admission(holds_below=1.0))
    assert told.index("Finished 1") < told.index("Started 2")


@pytest.mark.parametrize("policy", sorted(set(POLICY_NAMES) - {"adaptive"}))
def test_only_the_adaptive_ladder_asks_for_more(policy: str) -> None:
    world = World(policy, params(), device_pages=8, host_pages=8)
    assert world.state.policy.admission == PLAIN_ADMISSION
