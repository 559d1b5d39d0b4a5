"""`python boot.py SYSTEM`: starts `runners` for a system where this package is not installed.

The folder three floors up becomes the package, and nothing beside it can be imported. It runs as a
script in a peer's environment, so it imports nothing of ours itself; `runner` starts it.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    spec = spec_from_file_location("skipjoin", root / "__init__.py", submodule_search_locations=[str(root)])
    assert spec is not None and spec.loader is not None, "the package has an __init__"
    package = sys.modules["skipjoin"] = module_from_spec(spec)
    spec.loader.exec_module(package)
    importlib.import_module("skipjoin.bench.peers.runners").main(sys.argv[1])
