"""The house rules hold for the product, and each of them can fail.

Runs every check of `house_rules` on the checkout, and on small planted trees that break exactly one
rule each.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from house_rules import CHECKS
from source_tree import Module, circles, load


@pytest.mark.parametrize("rule", CHECKS)
def test_product_keeps(rule: str, product: list[Module]) -> None:
    if offences := CHECKS[rule](product):
        pytest.fail("\n".join(offences), pytrace=False)


def test_every_folder_was_read(product: list[Module], checkout: Path) -> None:
    """A check over nothing would always pass."""
    read = {module.name.split(".")[0] for module in product}
    there = {path.parent.name for path in checkout.glob("[a-z]*/__init__.py")}
    assert there <= read
    assert {"core", ""} <= read


PLANTED: list[tuple[str, str, str, str]] = [
    # rule, file, source, what the offence must say
    ("floors", "core/plan.py", "from ..scheduler import mlfq\n", "core (floor 1) imports scheduler"),
    ("floors", "scheduler/mlfq.py", "from ..kvstore.ledger import Ledger\n", "scheduler (floor 2) imports kvstore"),
    ("floors", "kvstore/ledger.py", "from .device import pool\n", "kvstore (floor 2) imports kvstore.device"),
    (
        "floors",
        "kvstore/ledger.py",
        "def f():\n    from ..profiler import model\n",
        "kvstore (floor 2) imports profiler",
    ),
    ("floors", "scheduler/mlfq.py", "from .. import cli\n", "imports cli (floor 7)"),
    ("floors", "scheduler/mlfq.py", "from ..jobpool.sqlite import x\n", "imports jobpool.sqlite.x (floor 3)"),
    ("floors", "novel/thing.py", "", "'novel' has no floor"),
    ("circles", "core/plan.py", "from . import mirror\n", "circle of modules: core.mirror, core.plan"),
    ("circles", "core/plan.py", "def f():\n    from .mirror import x\n", "circle of modules: core.mirror, core.plan"),
    ("circles", "core/plan.py", "from ..scheduler.loop import x\n", "circle of packages: core, scheduler"),
    ("import form", "core/plan.py", "from skipjoin.core import mirror\n", "imported relatively"),
    (
        "import form",
        "core/plan.py",
        "import typing\nif typing.TYPE_CHECKING:\n    from .mirror import x\n",
        "under TYPE_CHECKING",
    ),
    ("import form", "core/plan.py", "from .mirror import *\n", "import of everything"),
    ("third parties", "scheduler/mlfq.py", "import torch\n", "torch may not"),
    ("third parties", "kvstore/ledger.py", "def f():\n    from torch import Tensor\n", "torch may not"),
    ("third parties", "client/stub.py", "import numpy as np\n", "numpy may not"),
    ("third parties", "engine/turn.py", "import grpc\n", "grpc may not"),
    ("third parties", "engine/turn.py", "from google.protobuf import message\n", "google may not"),
    ("third parties", "serving/door/door.py", "import prometheus_client\n", "prometheus_client may not"),
    ("third parties", "jobpool/sqlite.py", "from prometheus_client import Counter\n", "prometheus_client may not"),
    ("third parties", "scheduler/params.py", "from pydantic import BaseModel\n", "pydantic may not"),
    ("third parties", "core/plan.py", "import requests\n", "requests is not in THIRD_PARTIES"),
    ("third parties", "engine/turn.py", "import time\n", "time is read in core.clock only"),
    (
        "third parties",
        "engine/turn.py",
        "def f():\n    from time import monotonic\n",
        "time is read in core.clock only",
    ),
    ("unsafe", "core/plan.py", "import pickle\n", "runs what it reads"),
    ("unsafe", "core/plan.py", "def f():\n    from cloudpickle import dumps\n", "runs what it reads"),
    ("unsafe", "model/weights/loaded.py", "import torch\ntorch.load('x', weights_only=True)\n", "call of torch.load"),
    ("unsafe", "model/weights/loaded.py", "from torch import load\n", "torch.load"),
    ("unsafe", "core/plan.py", "import subprocess\nsubprocess.run('x', shell=True)\n", "shell=..."),
    ("unsafe", "core/plan.py", "eval('1')\n", "call of eval"),
    ("unsafe", "core/plan.py", "exec('1')\n", "call of exec"),
    ("unsafe", "core/plan.py", "import yaml\nyaml.load('x')\n", "call of yaml.load"),
    ("unsafe", "executor/ranks.py", "dist.broadcast_object_list([1])\n", "call of dist.broadcast_object_list"),
    ("unsafe", "executor/ranks.py", "dist.all_gather_object([1], 1)\n", "call of dist.all_gather_object"),
    ("unsafe", "model/weights/loaded.py", "np.load('x', allow_pickle=True)\n", "allow_pickle=..."),
    ("unsafe", "model/weights/loaded.py", "from_pretrained('x', trust_remote_code=flag)\n", "trust_remote_code=..."),
    ("places", "engine/turn.py", "print('x')\n", "print"),
    ("places", "engine/turn.py", "import datetime\ndatetime.datetime.now()\n", "reads a clock"),
    ("shape", "core/plan.py", "def f():\n" + "    x = 1\n" * 50, "51 lines"),
    ("shape", "core/plan.py", "class A:\n" + "    x = 1\n" * 300, "301 lines"),
    ("shape", "core/utils.py", "", "names nothing"),
    ("shape", "core/plan.py", "def f():\n    raise NotImplementedError\n", "a stub"),
]

ALLOWED: list[tuple[str, str]] = [
    ("engine/turn.py", "from ..core import mirror\nfrom ..scheduler.mlfq import x\nimport numpy\n"),
    ("serving/door/door.py", "from ..profiler import measure\nimport grpc\nfrom google.rpc import status_pb2\n"),
    ("serving/door/metrics.py", "import prometheus_client\nfrom .. import __version__\n"),
    ("serving/settings.py", "import pydantic\n"),
    ("core/clock.py", "import time\n"),
    ("client/command.py", "print('x')\nimport rich\n"),
    ("model/weights/loaded.py", "import torch\nmodel.eval()\nrun(shell=False)\n"),
    ("kvstore/device/pool.py", "import torch\nfrom ...kernels import layout\n"),
]


def _plant(root: Path, file: str, source: str) -> list[Module]:
    surroundings = {
        "core/__init__.py": "",
        "core/mirror.py": "from . import plan\n",
        "core/plan.py": "",
        "kernels/layout.py": "",
        "kvstore/ledger.py": "",
        "kvstore/device/pool.py": "",
        "cost/linear.py": "",
        "profiler/measure.py": "",
        "scheduler/mlfq.py": "",
        "scheduler/loop.py": "from ..core import plan\n",
        "cli.py": "",
        file: source,
    }
    for name, text in surroundings.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return load(root)


@pytest.mark.parametrize(("rule", "file", "source", "says"), PLANTED)
def test_planted_offence_is_flagged(rule: str, file: str, source: str, says: str, tmp_path: Path) -> None:
    offences = CHECKS[rule](_plant(tmp_path, file, source))
    assert any(says in offence for offence in offences), offences


@pytest.mark.parametrize(("file", "source"), ALLOWED)
def test_what_is_allowed_is_not_flagged(file: str, source: str, tmp_path: Path) -> None:
    modules = _plant(tmp_path, file, source)
    assert [offence for check in CHECKS.values() for offence in check(modules)] == []


def test_circles_are_found_whole() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"f"}}
    assert circles(edges) == [["a", "b", "c"]]
