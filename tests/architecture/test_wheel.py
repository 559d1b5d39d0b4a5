"""What is installed is what stands in the tree.

Builds a wheel from a copy of the checkout under another name, so that nothing is written into the
checkout and nothing left over from an earlier build gets in, and compares it file by file. Also
holds the lower bounds of the dependencies against the generated code.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from source_tree import PACKAGE, product_files

DATA = {".c", ".h", ".json", ".proto", ".pyi", ".csv", ".toml", ".jinja", ".txt", ".typed"}
BUILD = "import sys, setuptools.build_meta as backend; print(backend.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that the copy builds."""
    copy = tmp_path_factory.mktemp("some") / "another-name"
    for path in product_files(checkout):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(checkout / path, copy / path)
    out = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(out)], cwd=copy, capture_output=True, text=True, timeout=120, check=False
    )
    assert built.returncode == 0, built.stderr[-2000:]
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def _inside(wheel: zipfile.ZipFile) -> set[str]:
    prefix = PACKAGE + "/"
    return {name.removeprefix(prefix) for name in wheel.namelist() if name.startswith(prefix)}


def test_modules_are_the_trees(wheel: zipfile.ZipFile, checkout: Path) -> None:
    tree = {str(path) for path in product_files(checkout) if path.suffix == ".py"}
    packed = {name for name in _inside(wheel) if name.endswith(".py")}
    assert packed == tree, "compare `packages` in pyproject.toml"


def test_data_files_are_the_trees(wheel: zipfile.ZipFile, checkout: Path) -> None:
    tree = {str(p) for p in product_files(checkout) if p.suffix in DATA or p.name == "py.typed"} - {"pyproject.toml"}
    packed = {name for name in _inside(wheel) if not name.endswith(".py")}
    assert packed == tree, "compare `package-data` in pyproject.toml"


def test_wheel_carries_licence_command_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {PACKAGE, info}
    assert "Apache License" in wheel.read(f"{info}/licenses/LICENSE").decode()
    assert "skipjoin = skipjoin.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata


def test_version_is_said_once(wheel: zipfile.ZipFile) -> None:
    import skipjoin

    assert (
        f"\nVersion: {skipjoin.__version__}\n"
        in wheel.read(f"skipjoin-{skipjoin.__version__}.dist-info/METADATA").decode()
    )


def test_lower_bounds_satisfy_the_generated_code(checkout: Path) -> None:
    """protoc's output refuses older runtimes than its own; the declared bounds must not promise
    them.
    """
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    floors = {}
    for line in project["dependencies"]:
        requirement = Requirement(line)
        (floors[requirement.name],) = (Version(part.version) for part in requirement.specifier if part.operator == ">=")
    for path in (checkout / "proto").glob("*_pb2_grpc.py"):
        (generated,) = re.findall(r"GRPC_GENERATED_VERSION = '([\d.]+)'", path.read_text())
        assert floors["grpcio"] >= Version(generated), path.name
    for path in (checkout / "proto").glob("*_pb2.py"):
        (parts,) = re.findall(r"Domain\.PUBLIC,\s*(\d+),\s*(\d+),\s*(\d+),", path.read_text())
        assert floors["protobuf"] >= Version(".".join(parts)), path.name
