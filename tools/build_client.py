"""Build the distribution `skipjoin-client`: the SDK and `generate`, in a wheel that needs neither
torch nor numpy.

    python tools/build_client.py [OUT]          # OUT: a folder for the wheel, dist by default

Owns which parts of the tree a client needs, and its metadata. Version, Python and the bounds of its
dependencies are those of `pyproject.toml`, so that nothing is said twice. The import package is
`skipjoin`, as in the distribution `skipjoin`, which holds all of it: an environment has one of the
two (docs/wire.md). It needs setuptools in the environment that runs it, and downloads nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("client", "core", "proto")
ALONE = ("__init__.py", "cli.py", "py.typed", "LICENSE")
NEEDED = ("googleapis-common-protos", "grpcio", "protobuf")
STUB = '''"""What type checkers see of the lazy names in `__init__.py`, as far as a client has them."""

from .core.sampling import SamplingParams as SamplingParams

__version__: str
__all__ = ["SamplingParams", "__version__"]
'''
READ_ME = """# skipjoin-client

The Python client of skipjoin, an LLM inference server, and the command `skipjoin-client generate`, without torch.

```python
from skipjoin.client import Client

with Client("127.0.0.1:50071") as client:
    print(client.generate("Once upon a time").result().text)
```

The distribution `skipjoin` has all of this too. An environment has one of the two, not both.
"""


def write_tree(to: Path) -> None:
    """The sources of the distribution, with a `pyproject.toml` of its own."""
    for folder in PACKAGES:
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ALONE:
        shutil.copy(ROOT / name, to / name)
    (to / "__init__.pyi").write_text(STUB, encoding="utf-8")
    (to / "README.md").write_text(READ_ME, encoding="utf-8")
    (to / "pyproject.toml").write_text(_project(), encoding="utf-8")


def _project() -> str:
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = whole["project"]
    bounds = {re.split(r"[<>=!~ ;\[]", line)[0]: line for line in project["dependencies"]}
    classifiers = [line for line in project["classifiers"] if "Artificial Intelligence" not in line]
    data = {
        "skipjoin": ["*.pyi", "py.typed"],
        "skipjoin.proto": whole["tool"]["setuptools"]["package-data"]["skipjoin.proto"],
    }
    lines = [
        "[build-system]",
        f"requires = {json.dumps(whole['build-system']['requires'])}",
        'build-backend = "setuptools.build_meta"',
        "[project]",
        'name = "skipjoin-client"',
        'dynamic = ["version"]',
        'description = "Client of skipjoin, an LLM inference server: submit, stream, resume; no torch"',
        'readme = "README.md"',
        f"license = {json.dumps(project['license'])}",
        'license-files = ["LICENSE"]',
        f"requires-python = {json.dumps(project['requires-python'])}",
        f"classifiers = {json.dumps(classifiers)}",
        f"dependencies = {json.dumps([bounds[name] for name in NEEDED])}",
        "[project.scripts]",
        'skipjoin-client = "skipjoin.cli:main"',
        "[tool.setuptools]",
        "include-package-data = false",
        'package-dir = { skipjoin = "." }',
        f"packages = {json.dumps(['skipjoin', *(f'skipjoin.{name}' for name in PACKAGES)])}",
        "[tool.setuptools.dynamic]",
        'version = { attr = "skipjoin.__version__" }',
        "[tool.setuptools.package-data]",
        *(f"{json.dumps(package)} = {json.dumps(files)}" for package, files in data.items()),
    ]
    return "\n".join(lines) + "\n"


def build(out: Path) -> Path:
    """The wheel, built into `out`."""
    from setuptools import build_meta

    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="skipjoin-client-") as folder:
        write_tree(Path(folder))
        here = Path.cwd()
        os.chdir(folder)  # the build backend works in the current folder
        try:
            return out / build_meta.build_wheel(str(out))
        finally:
            os.chdir(here)


if __name__ == "__main__":
    print(build(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
