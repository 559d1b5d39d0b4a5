"""`python boot.py MODULE`: starts a module of this package where it is not installed.

The folder three floors up becomes the package, and nothing beside it can be imported. It runs as a
script in a peer's environment, so it imports nothing of ours itself; `runner` starts it.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def main(name: str) -> None:
    """Import PACKAGE.bench.peers.NAME and run its `main`."""
    root = Path(__file__).resolve().parents[2]
    spec = spec_from_file_location("skipjoin", root / "__init__.py", submodule_search_locations=[str(root)])
    assert spec is not None and spec.loader is not None, "the package has an __init__"
    package = module_from_spec(spec)
    sys.modules["skipjoin"] = package
    spec.loader.exec_module(package)
    importlib.import_module(f"skipjoin.bench.peers.{name}").main()


if __name__ == "__main__":
    main(sys.argv[1])
