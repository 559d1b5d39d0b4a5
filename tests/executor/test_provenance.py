"""The digest of the computing code: equal for equal code, another one where something else computes."""

from __future__ import annotations

import torch

from skipjoin.executor import provenance
from skipjoin.executor.provenance import computing_code

CPU = torch.device("cpu")


def test_it_is_the_same_twice_and_another_one_for_another_library():
    first = computing_code(CPU, torch.float32)
    computing_code.cache_clear()
    assert computing_code(CPU, torch.float32) == first
    assert len(first) == 32
    # No library computes in bfloat16.
    assert computing_code(CPU, torch.bfloat16) != first or provenance.library(torch.float32) is None


def test_a_changed_source_or_torch_changes_it(monkeypatch, tmp_path):
    root = tmp_path / "package"
    for part in ("executor", "kernels"):
        (root / part / "below").mkdir(parents=True)
        (root / part / "below" / "code.py").write_text("one = 1")
    monkeypatch.setattr(provenance, "__file__", str(root / "executor" / "provenance.py"))

    def digest() -> str:
        computing_code.cache_clear()
        return computing_code(CPU, torch.bfloat16)

    first = digest()
    (root / "kernels" / "notes.md").write_text("nothing that computes")
    assert digest() == first
    (root / "kernels" / "below" / "code.py").write_text("one = 2")
    second = digest()
    assert second != first
    monkeypatch.setattr(torch, "__version__", "another")
    assert digest() not in (first, second)
    computing_code.cache_clear()
