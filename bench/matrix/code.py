"""Which code a result came from.

Owns the list of what a simulated result depends on and the digest of it. Comments, docstrings and
form do not count, so that a run may be resumed after an edit that changes nothing. `command` asks
once per invocation.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOLDERS = (
    "core",
    "cost",
    "scheduler",
    "scheduler/adaptive",
    "scheduler/lengths",
    "kvstore",
    "kvstore/planning",
    "engine",
    "workload",
)
MORE = (
    *(f"sim/{name}.py" for name in ("bounds", "drain", "executor", "link", "strict", "study", "world")),
    *(f"bench/{name}.py" for name in ("matrix/cell", "matrix/scenario", "scenario_file")),
)


def sources(root: Path = ROOT) -> Iterator[Path]:
    """The modules that a simulated result depends on."""
    for folder in FOLDERS:
        yield from sorted((root / folder).glob("*.py"))
    for name in MORE:
        yield root / name


def code_version(root: Path = ROOT) -> str:
    """A digest of what those modules do."""
    digest = hashlib.sha256()
    for path in sources(root):
        digest.update(f"{path.relative_to(root)}\n{meaning(path.read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()[:12]


def meaning(source: str) -> str:
    """The module's statements without comments, docstrings and positions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
