"""`skipjoin-client`: the client alone, installed where there is neither torch nor numpy nor
anything else of the server.

The wheel is built from this tree and unpacked into an environment of its own, beside the
dependencies that it declares (taken from the environment of the tests, so that nothing is
downloaded) and no other. `tools/first_token.sh` installs it with pip.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import skipjoin

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "process"))  # process_server

from process_server import Server

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys
from skipjoin.client import Client
from skipjoin import SamplingParams
with Client(sys.argv[1]) as client:
    done = client.generate("hello", params=SamplingParams(max_new_tokens=3, ignore_eos=True)).result()
print(len(done.token_ids), done.finish_reason.value)
print(sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "numpy", "pydantic", "aiohttp", "rich")))
"""


def _with_what_they_need(names: list[str]) -> set[str]:
    found: set[str] = set()
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name not in found:
            found.add(name)
            for line in metadata.distribution(name).requires or ():
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    names.append(requirement.name)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, str(ROOT / "tools" / "build_client.py"), str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def place(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment that holds the wheel and its declared dependencies."""
    home = tmp_path_factory.mktemp("client")
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        (meta,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        declared = re.findall(r"^Requires-Dist: (.+)$", archive.read(meta).decode(), re.MULTILINE)
    for name in _with_what_they_need([Requirement(line).name for line in declared]):
        for file in metadata.distribution(name).files or ():
            if file.parts[0] == ".." or file.suffix == ".pyc":
                continue
            there = site.joinpath(*file.parts)
            there.parent.mkdir(parents=True, exist_ok=True)
            there.symlink_to(Path(str(file.locate())).resolve())
    return home


def _run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.defpath, "HOME": str(place)}
    return subprocess.run(
        [str(place / "bin" / "python"), *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Server(tmp_path_factory.mktemp("server")).start()
    yield f"127.0.0.1:{server.port}"
    server.stop()


def test_it_says_what_it_is(wheel: Path) -> None:
    assert wheel.name == f"skipjoin_client-{skipjoin.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        folders = {name.split("/")[1] for name in archive.namelist() if name.startswith("skipjoin/")}
    assert folders == {"__init__.py", "__init__.pyi", "cli.py", "py.typed", "client", "core", "proto"}


@pytest.mark.parametrize("module", ["torch", "numpy", "pydantic", "aiohttp", "tokenizers"])
def test_the_servers_libraries_are_not_there(place: Path, module: str) -> None:
    assert "ModuleNotFoundError" in _run(place, "-c", f"import {module}").stderr


def test_the_sdk_speaks_to_a_server(place: Path, target: str) -> None:
    done = _run(place, "-c", SCRIPT, target)
    assert done.stdout.splitlines() == ["3 length", "[]"], done.stderr


def test_the_command_has_what_a_client_needs(place: Path, target: str) -> None:
    done = _run(place, "-m", "skipjoin.cli", "generate", "hello", "--target", target, "--max-new-tokens", "4")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.strip()
    assert _run(place, "-m", "skipjoin.cli", "--version").stdout == f"skipjoin-client {skipjoin.__version__}\n"
    refused = _run(place, "-m", "skipjoin.cli", "serve")
    assert refused.returncode == 2 and "skipjoin-client has no command 'serve'" in refused.stderr


def test_what_computes_is_refused_with_where_it_is(place: Path) -> None:
    done = _run(place, "-c", "from skipjoin import LLM")
    assert "ImportError: skipjoin-client has no LLM, which computes: install skipjoin." in done.stderr
