"""The house rules: who may import whom, and what may stand where.

Owns the tables (floors, third parties, places) and a check for each; a check takes modules and
answers sentences, one per offence, none when all is well. It knows no file of the product beyond
the names in the tables. The tests here run the checks on the checkout and on planted offences.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator

from source_tree import PACKAGE, Import, Module, circles, own_target

FLOORS: dict[str, float] = {
    "core": 1,
    "kernels": 1,
    "console": 2,
    "cost": 2,
    "scheduler": 2,
    "kvstore": 2,
    "kvstore.device": 2,
    "model": 2,
    "proto": 2,
    "workload": 2,
    "engine": 3,
    "executor": 3,
    "jobpool": 3,
    "client": 3,
    "sim": 4,
    "profiler": 4,
    "admin": 4,
    "serving": 5,
    "bench": 6,
    "": 7,
}
"""Component -> floor; the longest prefix counts, "" is the root (`__init__` and `cli`). Imports go
to lower floors or stay in their component.
"""

SAME_FLOOR: set[tuple[str, str]] = set()
"""The pairs that may look sideways: none."""

ANYWHERE = ("",)
THIRD_PARTIES: dict[str, tuple[str, ...]] = {
    "numpy": ANYWHERE,
    "torch": (
        "kernels",
        "model",
        "executor",
        "kvstore.device",
        "profiler.measure",
        "bench.device",
        "bench.machine",
        "bench.peers.runners",
    ),
    "triton": ("kernels.compiled",),
    "safetensors": ("model",),
    "tokenizers": ("model.text", "serving"),
    "jinja2": ("model.text", "serving", "bench.report"),
    "matplotlib": ("bench.charts",),
    "grpc": ("proto", "client", "serving", "admin"),
    "grpc_health": ("proto", "client", "serving", "admin"),
    "google": ("proto", "client", "serving", "admin"),
    "aiohttp": ("serving", "bench"),
    "prometheus_client": ("serving.door.metrics",),
    "pydantic": (
        "*.settings",
        "serving.flags",
        "serving.http.openai.rules",
        "serving.http.openai.schema",
        "serving.http.openai.conversation",
        "serving.http.openai.answer_schema",
        "serving.http.openapi",
        "*.scenario",
        "*.scenarios",
        "bench.scenario_file",
        "bench.matrix.store",
        "bench.studies.reading",
    ),
    "pydantic_core": ("serving.http.openai.rules",),
    "pydantic_settings": ("*.settings",),
    "huggingface_hub": ("model.source.hub_download",),
    "rich": ("*.command", "*.render", "*.progress", "serving.llm", "bench"),
    "transformers": ("bench.peers",),
    "ctranslate2": ("bench.peers",),
    "vllm": ("bench.peers",),
    "ray": ("serving.worker.ray_ranks",),
}
"""Third party -> where it may be imported: a component or module with all below it, or `*.NAME` for
modules of that name anywhere.
"""

NOT_IN: dict[str, tuple[str, ...]] = {"numpy": ("client",), "torch": ("model.text", "model.source")}
"""Exceptions to the table above."""

STANDARD_PLACES: dict[str, tuple[str, ...]] = {"time": ("core.clock",)}
"""Modules of the standard library that have one home."""

PRINTERS = (
    "cli",
    "*.command",
    "*.render",
    "*.run",
    "bench.device.against",
    "bench.device.pool",
    "bench.device.scaling",
    "bench.peers.install",
    "bench.studies.fidelity",
    "bench.studies.published",
    "workload.fit",
)
"""Where something is rendered for a person."""

UNSAFE_IMPORTS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"torch.load", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "eval", "exec"}
UNSAFE_FLAGS = {"shell", "allow_pickle", "trust_remote_code"}
CLOCK_CALLS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
LONGEST_FUNCTION_LINES = 50
LONGEST_CLASS_LINES = 300
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc"}


def component(name: str) -> str:
    """The entry of FLOORS that a module belongs to; a folder nobody put into the table is its own
    component, without a floor.
    """
    parts = name.split(".") if name else []
    for size in range(len(parts), 0, -1):
        if (prefix := ".".join(parts[:size])) in FLOORS:
            return prefix
    return parts[0] if len(parts) > 1 else ""


def stands_in(name: str, places: tuple[str, ...]) -> bool:
    """Whether module `name` is one of `places` or below one."""
    last = name.rsplit(".", 1)[-1]
    return any(
        place == "" or (place.startswith("*.") and last == place[2:]) or name == place or name.startswith(place + ".")
        for place in places
    )


def _own_edges(modules: list[Module]) -> Iterator[tuple[Module, str, Import]]:
    names = {module.name for module in modules}
    for module in modules:
        for imported in module.imports:
            if (target := own_target(imported, names)) is not None and target != module.name:
                yield module, target, imported


def check_floors(modules: list[Module]) -> list[str]:
    """Imports only go down, siblings never look at each other, and every folder has a floor."""
    offences = [
        f"{m.path}: package {component(m.name)!r} has no floor in FLOORS"
        for m in modules
        if component(m.name) not in FLOORS
    ]
    for module, target, imported in _own_edges(modules):
        here, there = component(module.name), component(target)
        if here == there or here not in FLOORS or there not in FLOORS or (here, there) in SAME_FLOOR:
            continue
        if FLOORS[there] >= FLOORS[here]:
            offences.append(
                f"{module.path}:{imported.line}: {here or 'root'} (floor {FLOORS[here]}) imports "
                f"{target or 'the root'} (floor {FLOORS[there]})"
            )
    return offences


def check_circles(modules: list[Module]) -> list[str]:
    """No circle between modules or components; imports inside functions count."""
    by_module: dict[str, set[str]] = {module.name: set() for module in modules}
    by_component: dict[str, set[str]] = defaultdict(set)
    for module, target, _ in _own_edges(modules):
        by_module[module.name].add(target)
        here, there = component(module.name), component(target)
        if here != there:
            by_component[here].add(there)
    return [f"circle of modules: {', '.join(group)}" for group in circles(by_module)] + [
        f"circle of packages: {', '.join(group)}" for group in circles(dict(by_component))
    ]


def check_import_form(modules: list[Module]) -> list[str]:
    """Own code is imported relatively, never as a whole package by star and never for types only."""
    offences = []
    for module in modules:
        if module.generated:
            continue
        for imported in module.imports:
            own = imported.relative or imported.target.split(".")[0] == PACKAGE
            where = f"{module.path}:{imported.line}"
            if own and not imported.relative:
                offences.append(f"{where}: own code is imported relatively, not as {imported.target}")
            if own and imported.typing_only:
                offences.append(f"{where}: {imported.target} is imported under TYPE_CHECKING; ports live in core")
            if imported.target.endswith(".*"):
                offences.append(f"{where}: import of everything from {imported.target[:-2]}")
    return offences


def check_third_parties(modules: list[Module]) -> list[str]:
    """Every third party stands where the table says, and none stands outside the table."""
    offences = []
    for module in modules:
        for imported in module.imports:
            top = imported.target.split(".")[0]
            where = f"{module.path}:{imported.line}"
            if imported.relative or top in (PACKAGE, "__future__"):
                continue
            if top in sys.stdlib_module_names:
                if not stands_in(module.name, STANDARD_PLACES.get(top, ANYWHERE)):
                    offences.append(f"{where}: {top} is read in {', '.join(STANDARD_PLACES[top])} only")
            elif top not in THIRD_PARTIES:
                offences.append(f"{where}: {top} is not in THIRD_PARTIES")
            elif not stands_in(module.name, THIRD_PARTIES[top]) or (
                top in NOT_IN and stands_in(module.name, NOT_IN[top])
            ):
                offences.append(f"{where}: {top} may not be imported here")
    return offences


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return "?"


def _calls(module: Module) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield node, _dotted(node.func)


def check_unsafe(modules: list[Module]) -> list[str]:
    """Nothing that runs data: no pickle, eval, shell, nor collectives that pickle behind one's
    back.
    """
    offences = []
    for module in modules:
        for imported in module.imports:
            if not imported.relative and imported.target.split(".")[0] in UNSAFE_IMPORTS:
                offences.append(f"{module.path}:{imported.line}: {imported.target} runs what it reads")
            if imported.target in UNSAFE_CALLS:
                offences.append(f"{module.path}:{imported.line}: {imported.target}")
        for call, name in _calls(module):
            last = name.rsplit(".", 1)[-1]
            if name in UNSAFE_CALLS or last.endswith(("_object", "_object_list")):
                offences.append(f"{module.path}:{call.lineno}: call of {name}")
            for keyword in call.keywords:
                off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in UNSAFE_FLAGS and not off:
                    offences.append(f"{module.path}:{call.lineno}: {keyword.arg}=... in a call of {name}")
    return offences


def check_places(modules: list[Module]) -> list[str]:
    """Print only where something is rendered for a person; the calendar's clock nowhere."""
    offences = []
    for module in modules:
        for call, name in _calls(module):
            if name == "print" and not stands_in(module.name, PRINTERS):
                offences.append(f"{module.path}:{call.lineno}: print")
            if ".".join(name.split(".")[-2:]) in CLOCK_CALLS:
                offences.append(f"{module.path}:{call.lineno}: {name} reads a clock; core/clock.py does")
    return offences


def check_shape(modules: list[Module]) -> list[str]:
    """Files have a noun for a name; functions and classes stay short and are no stub."""
    offences = []
    for module in modules:
        if module.generated:
            continue
        if module.path.stem in NAMELESS or module.path.parent.name in NAMELESS:
            offences.append(f"{module.path}: a name that names nothing")
        for node in ast.walk(module.tree):
            offences += _too_long(module, node)
            if isinstance(node, ast.Raise) and node.exc is not None and "NotImplementedError" in ast.unparse(node.exc):
                offences.append(f"{module.path}:{node.lineno}: a stub; an abstract method is marked by abc")
    return offences


def _too_long(module: Module, node: ast.AST) -> list[str]:
    """A function or class beyond its cap. A file has none: splitting a file by its length makes
    parts that share a hidden state.
    """
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        most = LONGEST_FUNCTION_LINES
    elif isinstance(node, ast.ClassDef):
        most = LONGEST_CLASS_LINES
    else:
        return []
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    return [] if lines <= most else [f"{module.path}:{node.lineno}: {node.name} has {lines} lines, more than {most}"]


CHECKS: dict[str, Callable[[list[Module]], list[str]]] = {
    "floors": check_floors,
    "circles": check_circles,
    "import form": check_import_form,
    "third parties": check_third_parties,
    "unsafe": check_unsafe,
    "places": check_places,
    "shape": check_shape,
}
