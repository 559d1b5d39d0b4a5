"""A Ray cluster places the other rank of an engine, on the node that has room; and again after its
death. On this machine, with two logical nodes.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process_server import Server, alive

from skipjoin import LLM, SamplingParams
from skipjoin.core.errors import InvalidSettings
from skipjoin.model.presets import init_model
from skipjoin.proto import job_pool_pb2 as pb

Serve = Callable[..., Server]
LENGTH = 40


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A head that has no room, and a node that has room for one rank."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield
    made.shutdown()


@pytest.mark.needs("Ray")
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves the output of its nodes open
def test_ray_places_a_rank_and_places_it_again(
    serve: Serve, cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    init_model(tmp_path / "model", "tiny", seed=7)
    sampling = SamplingParams(temperature=0.9, seed=3, max_new_tokens=LENGTH, ignore_eos=True)
    with LLM(tmp_path / "model", device="cpu", dtype="float64", threads=1, kv_tokens=2048) as llm:
        calm = llm.generate("by ray", sampling, progress=False)[0].token_ids
    flags = ["--model", str(tmp_path / "model"), "--device", "cpu", "--dtype", "float64", "--kv-tokens", "512"]
    server = serve(*flags, "--tensor-parallel", "2", "--ranks", "ray", "--start-stall-s", "90", simulated=False)
    with server.stub() as stub:
        wanted = pb.SamplingParams(temperature=0.9, seed=3, max_new_tokens=LENGTH, ignore_eos=True)
        job = stub.Submit(pb.SubmitRequest(spec=pb.JobSpec(text="by ray", sampling=wanted))).job.job_id
        server.wait_for_tokens(job, 4)
        (rank,) = _ranks()
        os.kill(rank, signal.SIGKILL)
        chunks = [item.chunk for item in stub.Stream(pb.StreamRequest(job_id=job), timeout=200)]
        assert tuple(token for chunk in chunks for token in chunk.token_ids) == calm
        (again,) = _ranks()
        assert again != rank
    server.stop()
    assert not alive(rank)


def _ranks() -> list[int]:
    """Processes of ranks on this machine that Ray has started."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes()
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
            above = Path(f"/proc/{parent}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"rank_process" in words and above.startswith(b"ray::"):
            found.append(int(place.name))
    return found


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    init_model(tmp_path / "model", "tiny", seed=7)
    with pytest.raises(InvalidSettings, match=r"skipjoin\[ray\]") as refused:
        LLM(tmp_path / "model", device="cpu", tensor_parallel=2, ranks="ray")
    assert refused.value.field == "ranks"
