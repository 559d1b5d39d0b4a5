"""The digest of the computing code: equal for equal code, another one where something else
computes.
"""

from __future__ import annotations

import torch

from skipjoin.executor import provenance
from skipjoin.executor.provenance import computing_code
from skipjoin.kernels.native.library import Library, library
from skipjoin.kernels.native.precisions import SWITCH

CPU = torch.device("cpu")


def digest(dtype=torch.float32) -> str:
    computing_code.cache_clear()
    return computing_code(CPU, dtype)


def test_another_library_is_another_digest_and_so_is_none(monkeypatch):
    """On any machine: the names stand for libraries that compilers would make here."""

    def named(name):
        monkeypatch.setattr(provenance, "library", lambda dtype: None if name is None else library_named(name))
        return digest()

    names = (None, "one", "two")
    first = [named(name) for name in names]
    assert len(set(first)) == 3 and all(len(one) == 32 for one in first)
    assert [named(name) for name in names] == first
    computing_code.cache_clear()


def library_named(name) -> Library:
    made = object.__new__(Library)
    made.name = name
    return made


def test_the_library_of_this_machine_is_in_it(monkeypatch):
    if library(torch.float32) is None:
        assert digest(torch.float32) == digest(torch.bfloat16), "plain torch computes both"
        return
    with_it = digest()
    library.cache_clear()
    monkeypatch.setenv(SWITCH, "off")
    try:
        assert digest() != with_it
        assert digest() == digest(torch.bfloat16), "no library computes in bfloat16"
    finally:
        library.cache_clear()
        computing_code.cache_clear()


def test_a_changed_source_or_torch_changes_it(monkeypatch, tmp_path):
    root = tmp_path / "package"
    for part in ("executor", "kernels", "model"):
        (root / part / "below").mkdir(parents=True)
        (root / part / "below" / "code.py").write_text("one = 1")
    monkeypatch.setattr(provenance, "__file__", str(root / "executor" / "provenance.py"))

    def changed() -> str:
        return digest(torch.bfloat16)

    first = changed()
    (root / "kernels" / "notes.md").write_text("nothing that computes")
    assert changed() == first
    (root / "kernels" / "below" / "code.py").write_text("one = 2")
    second = changed()
    assert second != first
    monkeypatch.setattr(torch, "__version__", "another")
    assert changed() not in (first, second)
    computing_code.cache_clear()
