"""A peer into a virtual environment of its own.

Owns the steps: environment, what is installed by itself, the pinned rest, the proof that it can be
imported. Interrupted, it goes on where it was, because what pip has fetched and installed stays;
the stamp comes last.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ...core.errors import InvalidSettings, Unavailable
from ..flags import Flags
from ..load.process import kill_session
from ..progress import Bar
from .catalogue import DEVICES, PEERS, Home, clean_environment, install_words, peer_named

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_S = 3.0
FREE_BYTES = {"cpu": 6 << 30, "cuda": 10 << 30}
"""What the largest peer takes with pip's copies while it is installed (in the end: 3.4 GB for the
CPU, 4.9 GB for CUDA)."""
_SHOWN = 3


def install(home: Home, bar: Bar) -> str:
    """Install what is pinned, torch as it is built for the home's device. Returns the version.

    Raises InvalidSettings for a peer that does not compute there, Unavailable with pip's own words
    and what to do.
    """
    peer = home.peer
    if (why := peer.unable(home.device)) is not None:
        raise InvalidSettings(f"{peer.name} is {why}.", field="device", limit=", ".join(peer.computes))
    if (version := home.version()) is not None:
        bar.note(f"{peer.name} {version} is installed")
        return version
    home.make()
    if shutil.disk_usage(home.folder).free < FREE_BYTES[home.device] and not home.prefix.exists():
        needs = f"{peer.name} needs about {FREE_BYTES[home.device] >> 30} GiB of disk"
        raise Unavailable(f"{needs}; make room, or let XDG_CACHE_HOME name a larger disk.")
    lines = _pins(peer.requirements) + (_pins(peer.alone) if peer.alone else 0)
    home.forget()  # half of these pins beside half of others must not pass for whole when the others come back
    with bar.steps(f"installing {peer.name}", lines) as ended:
        _venv(home)
        for path, flags in ((peer.alone, ["--no-deps"]), (peer.requirements, _torch_build(home))):
            if path is not None:
                _pip(home, ["install", *flags, "--requirement", str(path)], lambda: ended(1))
        version = _proof(home)
    home.stamp(version)
    bar.note(f"{peer.name} {version} is installed")
    return version


def _pins(path: Path) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return sum(1 for line in lines if line.strip() and not line.startswith("#"))


def _venv(home: Home) -> None:
    """Make it, also anew where it is half-made or of another interpreter."""
    asked = "import pip, sys; sys.exit(sys.version_info[:2] != tuple(map(int, sys.argv[1:])))"
    if home.python.exists() and _run([str(home.python), "-c", asked, *map(str, sys.version_info[:2])], home)[0] == 0:
        return
    code, said = _run([sys.executable, "-m", "venv", "--clear", str(home.prefix)], home)
    if code:
        how = "On Debian and Ubuntu: apt-get install python3-venv"
        raise Unavailable(f"No virtual environment could be made for {home.peer.name}: {said}. {how}.")


def _torch_build(home: Home) -> list[str]:
    """What makes pip choose torch's build for the device.

    For the CPU the index of its CPU builds, when it answers: without it pip may choose the build
    for CUDA, which is gigabytes larger. For CUDA the version without a suffix, compared as text: on
    Linux that is the package index's build for CUDA, whatever other indexes pip is told of.
    """
    if home.device == "cuda":
        lines = home.peer.requirements.read_text(encoding="utf-8").splitlines()
        return [line.replace("==", "===") for line in lines if line.startswith("torch==")]
    try:
        asked = urllib.request.Request(f"{TORCH_CPU_INDEX}/torch/", method="HEAD")
        with urllib.request.urlopen(asked, timeout=PROBE_S):
            return ["--extra-index-url", TORCH_CPU_INDEX]
    except (urllib.error.URLError, TimeoutError, OSError):
        return []


def _pip(home: Home, words: list[str], counted: Callable[[], None]) -> None:
    pip = [str(home.python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    code, said = _run([*pip, *words], home, counted)
    if code:
        again = f"run `{install_words([home.peer], home.device)}` again: it goes on where it was"
        advice = f"Look whether the package index answers, then {again}"
        raise Unavailable(f"pip could not install {home.peer.name}: {said}. {advice}.")


def _proof(home: Home) -> str:
    """Its version, asked of the environment itself."""
    asked = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    code, said = _run([str(home.python), "-c", asked, home.peer.distribution], home)
    if code:
        raise Unavailable(f"{home.peer.name} was installed and cannot be found: {said}.")
    if home.device == "cuda":
        asked = "import torch; print(torch.version.cuda)"
        code, built = _run([str(home.python), "-c", asked], home)
        if code or built == "None":
            found = f"The torch that was installed for {home.peer.name} is no build for CUDA: {built}"
            advice = "Look at pip's indexes and at this machine's kind: torch has such builds for Linux"
            raise Unavailable(f"{found}. {advice}.")
    return said


def _run(words: list[str], home: Home, counted: Callable[[], None] | None = None) -> tuple[int, str]:
    """Run to the end, counting packages; its code and last words, errors first."""
    last: deque[str] = deque(maxlen=_SHOWN)
    errors: deque[str] = deque(maxlen=_SHOWN)
    with home.log.open("a", encoding="utf-8") as log:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=_environment(),
                start_new_session=True,
            )
        except OSError as bad:
            return 127, f"{Path(words[0]).name} cannot be started ({bad.strerror})"
        try:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                if not (line := line.strip()):
                    continue
                last.append(line)
                if line.startswith("ERROR"):
                    errors.append(line)
                if counted is not None and line.startswith(("Collecting ", "Requirement already satisfied: ")):
                    counted()
            process.wait()
        finally:
            kill_session(process)
    return process.returncode, " / ".join(errors or list(last)[-1:]).rstrip(".") or "it said nothing"


def _environment() -> dict[str, str]:
    """pip keeps its own settings and its index; offline switches are for what runs later."""
    left_out = ("HF_HUB_OFFLINE", "OMP_NUM_THREADS")
    return {name: value for name, value in clean_environment(1).items() if name not in left_out}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench peers`."""
    what = "each peer has a virtual environment of its own"
    parser.add_argument("what", choices=("install", "list", "remove"), help=what)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)}")
    Flags(parser).choice("device", DEVICES, "for which torch is built; each has an environment", "cpu")


def run(args: argparse.Namespace) -> int:
    """Install, list or remove. Raises InvalidSettings, Unavailable."""
    peers = [peer_named(name, "names") for name in args.names]
    if args.what == "list":
        for peer in peers or PEERS.values():
            home = Home(peer, args.device)
            print(f"{peer.name:<16} {peer.title:<32} {peer.unable(args.device) or home.version() or home.absence}")
        return 0
    if not peers:
        raise InvalidSettings(f"Name the peers to {args.what}.", field="names", limit=f"of {', '.join(PEERS)}")
    if args.what == "install":
        with Bar() as bar:
            for peer in peers:
                install(Home(peer, args.device), bar)
        return 0
    for peer in peers:
        print(f"{peer.name}: {'removed' if Home(peer, args.device).remove() else 'was not there'}")
    return 0
