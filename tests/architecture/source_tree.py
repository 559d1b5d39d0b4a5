"""The product's source as data: modules, what they import, and their syntax trees.

Owns the walk over a checkout and the resolving of import statements, wherever in a file they stand.
It judges nothing; `house_rules` does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "skipjoin"
OUTSIDE = {"tests", "tools", "docs", "examples", "build", "dist"}
"""Folders of the checkout that are not part of the package."""


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: `target` is an absolute module (or module.attribute), `typing_only` if
    under TYPE_CHECKING.
    """

    target: str
    line: int
    relative: bool
    typing_only: bool


@dataclass(frozen=True, slots=True)
class Module:
    """A file of the product. `name` is relative to the package: "" is the root `__init__`,
    "core.plan", "kvstore" is a package.
    """

    name: str
    path: Path
    is_package: bool
    generated: bool
    tree: ast.Module
    imports: tuple[Import, ...]


def product_files(root: Path) -> Iterator[Path]:
    """Every file of the package below `root`, relative to it; hidden folders, caches and what is
    not product are left out.
    """
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") or part == "__pycache__" or part.endswith(".egg-info") for part in parts)
        if path.is_file() and not hidden and parts[0] not in OUTSIDE:
            yield path.relative_to(root)


def load(root: Path) -> list[Module]:
    """Every Python module of the product below `root`, in order of path."""
    return [_module(root, path) for path in product_files(root) if path.suffix == ".py"]


def _module(root: Path, path: Path) -> Module:
    source = (root / path).read_text(encoding="utf-8")
    parts = list(path.with_suffix("").parts)
    is_package = parts[-1] == "__init__"
    if is_package:
        parts.pop()
    name = ".".join(parts)
    tree = ast.parse(source, filename=str(path))
    generated = path.stem.endswith(("_pb2", "_pb2_grpc"))
    imports = tuple(_imports(tree, name, is_package))
    return Module(name, path, is_package, generated, tree, imports)


def _imports(tree: ast.Module, name: str, is_package: bool) -> Iterator[Import]:
    guarded = {id(node) for block in ast.walk(tree) if _is_typing_guard(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        typing_only = id(node) in guarded
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, False, typing_only)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, name, is_package)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}" if base else alias.name, node.lineno, node.level > 0, typing_only)


def _base(node: ast.ImportFrom, name: str, is_package: bool) -> str:
    if node.level == 0:
        return node.module or ""
    here = [PACKAGE, *([part for part in name.split(".") if part])]
    if not is_package:
        here.pop()
    here = here[: len(here) - (node.level - 1)]
    return ".".join([*here, *([node.module] if node.module else [])])


def _is_typing_guard(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def own_target(imported: Import, names: set[str]) -> str | None:
    """The product module an import reaches (`names` are all there are), or None if it is somebody
    else's.

    A module that does not exist is answered as it was written: its folder has a floor all the same.
    The version is a constant that every floor may say, not a dependency on the root.
    """
    if imported.target == f"{PACKAGE}.__version__":
        return None
    if imported.target != PACKAGE and not imported.target.startswith(PACKAGE + "."):
        return None
    parts = imported.target.split(".")[1:]
    for size in range(len(parts), 0, -1):
        if ".".join(parts[:size]) in names:
            return ".".join(parts[:size])
    return ".".join(parts) if len(parts) > 1 else ""


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (strongly connected, two or more), by Tarjan's
    algorithm without recursion.
    """
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    for start in sorted(edges):
        if start in order:
            continue
        work = [(start, iter(sorted(edges[start])))]
        order[start] = low[start] = len(order)
        stack.append(start)
        while work:
            node, rest = work[-1]
            for target in rest:
                if target not in order:
                    order[target] = low[target] = len(order)
                    stack.append(target)
                    work.append((target, iter(sorted(edges.get(target, ())))))
                    break
                if target in stack:
                    low[node] = min(low[node], order[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    group = [stack.pop()]
                    while group[-1] != node:
                        group.append(stack.pop())
                    if len(group) > 1:
                        found.append(sorted(group))
    return found
