"""The checkout the rules are applied to, read once.

Owns the fixtures of this folder. It knows no rule.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from source_tree import Module, load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the checkout these tests stand in."""
    return ROOT


@pytest.fixture(scope="session")
def product(checkout: Path) -> list[Module]:
    """Every module of the product."""
    return load(checkout)
