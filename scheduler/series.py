"""A policy as a person names one to be simulated: a name, or a name and where its dial stands, as
in `adaptive:0.5`.

Owns that way of writing and which policies have a dial. What is so named is a series of its own
everywhere: in keys, tables and charts. `simulate` and the scenario of a matrix check names with it,
`sim/study` turns the dial, the report joins the points of one policy.
"""

from __future__ import annotations

from typing import NamedTuple

from ..core.errors import InvalidSettings
from .adaptive.head_start import scale_of
from .registry import DIAL_NAMES

MARK = ":"


class Series(NamedTuple):
    """`tail` is None where the dial is left alone."""

    policy: str
    tail: float | None = None

    @property
    def name(self) -> str:
        """As in keys, tables and charts; the same for 0.5 and 0.50."""
        return self.policy if self.tail is None else f"{self.policy}{MARK}{self.tail:g}"

    @property
    def left_alone(self) -> bool:
        """Whether there is a dial that the name does not set."""
        return self.tail is None and self.policy in DIAL_NAMES


def parse(name: str) -> Series:
    """The series that `name` means; whether there is such a policy is not asked. Raises
    InvalidSettings.
    """
    policy, mark, dial = name.partition(MARK)
    if not mark:
        return Series(policy)
    if policy not in DIAL_NAMES:
        raise InvalidSettings(
            f"{policy} has no dial to be set to {dial!r}, {', '.join(DIAL_NAMES)} has one.", field="policy"
        )
    try:
        tail = float(dial)
        scale_of(tail)
    except (ValueError, InvalidSettings):
        raise InvalidSettings(f"the dial of {name} is no number from 0 to 1.", field="policy") from None
    return Series(policy, tail + 0.0)  # no -0


def spread(name: str, tails: tuple[float, ...]) -> tuple[str, ...]:
    """The series of `name`: one a tail where the policy has a dial that the name leaves alone."""
    series = parse(name)
    if not series.left_alone or not tails:
        return (series.name,)
    return tuple(Series(series.policy, tail).name for tail in tails)
