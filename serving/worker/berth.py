"""Which rank of how many a process is to be, and what it shares its machine with.

Owns `Berth`, and how torchrun's environment variables say one. It starts and reaches nothing; rank 0
and the other ranks of `--ranks env` ask it, and whoever starts a rank makes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...core.errors import InvalidSettings
from ..settings import split_address

_MOST = 1024
_AGENT = "TORCHELASTIC_USE_AGENT_STORE"


@dataclass(frozen=True, slots=True)
class Berth:
    """Rank `rank` of `world`, the `local_rank`th of `local_world` on its machine. On CUDA it takes
    the device of its local number.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    def words(self) -> list[str]:
        """As a command line."""
        return [str(number) for number in (self.rank, self.world, self.local_rank, self.local_world)]

    @classmethod
    def of_words(cls, words: list[str]) -> Berth:
        """From what `words` made."""
        return cls(*map(int, words))


ALONE = Berth()


def local_berth(rank: int, world: int) -> Berth:
    """All ranks on this machine."""
    return Berth(rank, world, rank, world)


def berth_of(environ: Mapping[str, str]) -> Berth:
    """What RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE say. Raises InvalidSettings."""
    world = _number(environ, "WORLD_SIZE", 1, _MOST)
    rank = _number(environ, "RANK", 0, world - 1)
    local_world = _number(environ, "LOCAL_WORLD_SIZE", 1, world, "1")
    return Berth(rank, world, _number(environ, "LOCAL_RANK", 0, local_world - 1, "0"), local_world)


def meeting_address(environ: Mapping[str, str], listen: str | None) -> tuple[str, int]:
    """Where rank 0 hears the others: `ranks_listen`, else MASTER_ADDR and MASTER_PORT. Raises
    InvalidSettings.
    """
    if listen is not None:
        return split_address(listen)
    if environ.get(_AGENT) == "True":
        raise InvalidSettings(
            "torchrun listens at MASTER_PORT itself; give all ranks another port of that machine.",
            field="ranks_listen",
            limit="HOST:PORT",
        )
    if not environ.get("MASTER_ADDR"):
        raise InvalidSettings(
            "Nothing says where rank 0 is: set MASTER_ADDR and MASTER_PORT, or ranks_listen.", field="MASTER_ADDR"
        )
    return environ["MASTER_ADDR"], _number(environ, "MASTER_PORT", 1, 65_535)


def _number(environ: Mapping[str, str], name: str, least: int, most: int, otherwise: str = "") -> int:
    said = environ.get(name) or otherwise
    if not said.isdecimal() or not least <= int(said) <= most:
        shown = f"is {said[:20]!r}" if said else "is not set"
        raise InvalidSettings(
            f"The variable {name} {shown}; torchrun sets it for each rank.", field=name, limit=f"{least}..{most}"
        )
    return int(said)
