"""From the C sources beside this file to a library of this machine.

Owns the compiler's call and the folder that keeps its results. It does not know what the functions
compute. `library` asks for a path; every way to fail is a `CannotBuild` with a reason, after which
plain torch computes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

log = logging.getLogger("skipjoin.engine")

_OPTIONS = ("-std=gnu11", "-O3", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
OWN = "native"
"""The processor that a library is for unless another is named: this one."""
_SOURCES = ("vectors.h", "arithmetic.c", "attention.c", "product.c", "sampling.c")
_TIMEOUT_S = 120
_LOOK_S = 0.1
_KEPT = 8
"""Libraries that stay in the folder: a few versions and precisions; the oldest go."""


class CannotBuild(Exception):
    """Why there is no library; said once in the log, not an error for anybody."""


def built(defines: dict[str, str], processor: str = OWN, beat: Callable[[], None] = lambda: None) -> Path:
    """The library compiled with those macros for a `processor` by the compiler's name for it, from
    the cache or made.

    `beat` is called while a compiler works. Raises CannotBuild.
    """
    compiler = _compiler()
    sources = {name: files(__package__).joinpath(name).read_bytes() for name in _SOURCES}
    options = [*_OPTIONS, f"-march={processor}", *(f"-D{name}={value}" for name, value in sorted(defines.items()))]
    name = f"{_key(compiler, sources, options)}.so"
    try:
        folder = _private_folder()
        path = folder / name
        if not path.is_file():
            log.info("compiling the CPU kernels, once for this machine")
            _compile(compiler, options, sources, path, beat)
            _prune(folder)
    except OSError as error:
        raise CannotBuild(f"the library could not be written ({error.strerror})") from error
    return path


def _compiler() -> list[str]:
    told = shlex.split(os.environ.get("CC", ""))
    for words in ([told] if told else []) + [["cc"], ["gcc"]]:
        found = shutil.which(words[0])
        if found is not None:
            return [found, *words[1:]]
    raise CannotBuild("there is no C compiler (cc, gcc, or what CC names)")


def _key(compiler: list[str], sources: dict[str, bytes], options: list[str]) -> str:
    """Everything that the result depends on: the same home folder may be mounted on machines with
    other processors.
    """
    told = os.stat(os.path.realpath(compiler[0]))
    parts = (compiler, told.st_size, told.st_mtime_ns, options, platform.machine(), _processor(), sources)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _processor() -> str:
    """Model and features of the processor, as the kernel tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0].splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(line for line in lines if line.startswith(("model", "flags", "Features", "CPU ")))


def _private_folder() -> Path:
    """Where libraries are kept. Only a folder that nobody else can write to will do: what lies
    there is run.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(base) / "skipjoin" / "native"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CannotBuild(f"{folder} is not this user's alone; libraries from there are not run")
    return folder


def _compile(
    compiler: list[str], options: list[str], sources: dict[str, bytes], path: Path, beat: Callable[[], None]
) -> None:
    """In a folder of its own, then renamed: two processes that start together do not see half of a
    file.

    Linked without OpenMP's own library: its functions are taken from the one that torch has loaded,
    so that there is one set of threads.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        here = Path(temporary)
        for name, source in sources.items():
            (here / name).write_bytes(source)
        objects = {name: f"{name}.o" for name in sources if name.endswith(".c")}
        # Side by side: the files take about as long as each other, and every machine has two cores.
        _run([[*compiler, *options, "-c", name, "-o", to] for name, to in objects.items()], here, beat)
        _run([[*compiler, "-shared", *objects.values(), "-o", "library.so", "-lm"]], here, beat)
        os.replace(here / "library.so", path)


def _run(steps: list[list[str]], here: Path, beat: Callable[[], None]) -> None:
    """Run compilers side by side, all of them within the time limit. Raises CannotBuild."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for at, step in enumerate(steps):
            # Into a file: a pipe that a killed compiler's children still hold would be waited for.
            with (here / f"told{at}.txt").open("wb") as told:
                running.append(
                    # A group of its own: a compiler starts processes, which its kill shall end too.
                    subprocess.Popen(
                        step, cwd=here, stdout=told, stderr=told, stdin=subprocess.DEVNULL, process_group=0
                    )
                )
        for _ in range(int(_TIMEOUT_S / _LOOK_S)):
            if all(process.poll() is not None for process in running):
                break
            beat()
            with suppress(subprocess.TimeoutExpired):
                next(process for process in running if process.returncode is None).wait(_LOOK_S)
    finally:
        late = [process for process in running if process.poll() is None]
        for process in late:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if late:
        raise CannotBuild(f"{steps[0][0]} took longer than {_TIMEOUT_S} s")
    for at, process in enumerate(running):
        if process.returncode:
            said = (here / f"told{at}.txt").read_text(errors="replace").strip()[:300]
            raise CannotBuild(f"{steps[at][0]} failed: {said}")


def _prune(folder: Path) -> None:
    libraries = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_mtime_ns)
    for path in libraries[:-_KEPT]:
        path.unlink(missing_ok=True)
