"""Tokens and tenants."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from skipjoin.core.errors import InvalidSettings, Unauthenticated
from skipjoin.core.ids import DEFAULT_TENANT
from skipjoin.serving.door.access import BY_HEADER, read_tokens


def _line(tenant: str, token: str) -> str:
    return f"{tenant} {hashlib.sha256(token.encode()).hexdigest()}\n"


def test_without_a_file_everybody_is_the_default_tenant() -> None:
    assert read_tokens(None).tenant(None) == DEFAULT_TENANT


def test_a_token_names_its_tenant(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# who\n" + _line("red", "r1") + _line("blue", "b1") + _line("red", "r2"))
    access = read_tokens(file)
    assert [access.tenant(f"Bearer {token}") for token in ("r1", "b1", "r2")] == ["red", "blue", "red"]
    assert access.tenant("bearer b1") == "blue"


@pytest.mark.parametrize(
    "shown", [None, "", "Bearer", "Bearer ", "Basic r1", "r1", "Bearer R1", "Bearer r1 ", "Bearer " + "x" * 600]
)
def test_anything_else_is_nobody(tmp_path: Path, shown: str | None) -> None:
    file = tmp_path / "tokens"
    file.write_text(_line("red", "r1"))
    with pytest.raises(Unauthenticated):
        read_tokens(file).tenant(shown)


def test_who_shows_no_token_is_told_how_to_send_one_on_that_wire(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(_line("red", "r1"))
    with pytest.raises(Unauthenticated, match="send the metadata authorization: Bearer TOKEN"):
        read_tokens(file).tenant(None)
    with pytest.raises(Unauthenticated, match="send the header Authorization: Bearer TOKEN"):
        read_tokens(file).tenant(None, BY_HEADER)


@pytest.mark.parametrize("text", ["", "# nobody\n", "red\n", "red abc\n", "re/d " + "0" * 64, "a b c\n", b"\xff\xfe"])
def test_a_file_that_lets_nobody_in_or_is_malformed_is_refused(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidSettings) as refused:
        read_tokens(file)
    assert refused.value.field == "tokens"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings):
        read_tokens(tmp_path / "none")
