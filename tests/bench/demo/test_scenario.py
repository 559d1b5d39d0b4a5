"""Scenario files: what ships, what a file says, what is wrong with one, and how many jobs a slow
machine gets.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skipjoin.bench.demo.scenario import FEWEST_REQUESTS, FOLDER, Scenario, load_scenario, scenario_files
from skipjoin.core.errors import InvalidSettings
from skipjoin.cost.linear import LinearCostModel
from skipjoin.cost.profiles import load_profile
from skipjoin.cost.schema import Profile
from skipjoin.sim.drain import drain_rate
from skipjoin.sim.world import simulate
from skipjoin.workload.statistics import summarize

HEAD = """
title = "two kinds"
about = "half short, half long"
model = "tiny"
seed = 3
load = 1.2
max_batch = 4
kv_mean_jobs = 6.0
requests = 80
"""
PARTS = """
[[parts]]
tenths = 5
prompt_tokens = [10, 30]
output_tokens = [4, 16]

[[parts]]
tenths = 5
prompt_tokens = [50, 50]
output_tokens = [20, 80]
"""


def _read(folder: Path, text: str) -> Scenario:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(path)


@pytest.fixture
def ours(tmp_path: Path) -> Scenario:
    return _read(tmp_path, HEAD + PARTS)


def _measured(prefill_token_ns: float, decode_job_ns: float, move_token_ns: float) -> Profile:
    """Two small cores with the small model, as they were measured one hour and the next."""
    cost = LinearCostModel(
        fixed_ns=9.9e6,
        prefill_token_ns=prefill_token_ns,
        prefill_pair_ns=1.0,
        decode_context_ns=0.0,
        decode_job_ns=decode_job_ns,
        move_token_ns=move_token_ns,
    )
    return replace(load_profile("opt-13b-a100"), model=cost, token_bytes=16_384, max_context_tokens=8192)


@pytest.fixture
def profile() -> Profile:
    """A machine on which an iteration takes 10 ms and little else counts."""
    cost = LinearCostModel(
        fixed_ns=10e6,
        prefill_token_ns=1e4,
        prefill_pair_ns=0.0,
        decode_context_ns=0.0,
        decode_job_ns=1e5,
        move_token_ns=1e3,
    )
    return replace(load_profile("opt-13b-a100"), model=cost, token_bytes=100, max_context_tokens=300)


@pytest.mark.parametrize("name", [file.stem for file in scenario_files()])
def test_what_ships_can_be_run(name: str, profile: Profile) -> None:
    scenario = load_scenario(FOLDER / f"{name}.toml")
    assert (scenario.load, scenario.max_batch, scenario.kv_mean_jobs) == (1.3, 8, 6.0)
    jobs = scenario.workload()
    assert len(jobs) == scenario.requests - jobs.refused > 0.9 * scenario.requests
    longest = int((jobs.prompt_tokens + jobs.output_tokens).max())
    assert longest <= scenario.kv_pages() * 16
    mean = float((jobs.prompt_tokens + jobs.output_tokens).mean())
    assert scenario.kv_pages() * 16 == pytest.approx(6 * mean, rel=0.25)
    again = scenario.workload()
    assert (jobs.prompt_tokens == again.prompt_tokens).all() and (jobs.output_tokens == again.output_tokens).all()


def test_the_first_that_ships_has_the_bars_and_they_are_two() -> None:
    first, second = map(load_scenario, scenario_files())
    assert (first.max_latency_ratio, first.min_throughput_ratio) == (0.5, 0.95)
    assert (second.max_latency_ratio, second.min_throughput_ratio) == (None, None)
    short = first.workload().output_tokens <= 40
    assert 0.8 < short.mean() < 0.97


@pytest.mark.parametrize("measured", [_measured(3.35e5, 5.87e5, 2.4e3), _measured(3.18e5, 3.99e5, 1.6e3)])
@pytest.mark.parametrize("requests", [185, 195, 196, 200])
def test_few_jobs_more_or_less_do_not_change_who_goes_first(measured: Profile, requests: int) -> None:
    # A runner that only yields to a rival four times smaller is in the way of the short jobs here
    # in one run of eight: then the ratio is 0.7 to 0.9.
    scenario = load_scenario(FOLDER / "1-many-short-few-long.toml")
    machine, jobs = scenario.machine(measured), scenario.workload(requests)
    jobs = jobs.at_rate(scenario.load * drain_rate(machine, jobs))
    means = {name: summarize(name, 0, simulate(machine, name, jobs).jobs).mean_jct_s for name in ("fcfs", "adaptive")}
    assert means["adaptive"] < 0.62 * means["fcfs"]


def test_lengths_and_pools_of_parts(ours: Scenario, profile: Profile) -> None:
    # Means: prompts (20 + 50) / 2, outputs (10 + 50) / 2; six times 65 tokens are 24.4 pages of 16.
    assert ours.kv_pages() == 24
    assert ours.host_pages() == 256
    machine = ours.machine(profile)
    assert (machine.facts.device_pages, machine.facts.host_pages, machine.facts.page_bytes) == (24, 256, 1600)
    assert (machine.facts.max_context_tokens, machine.params.max_batch) == (300, 4)
    jobs = ours.workload()
    long = jobs.prompt_tokens == 50
    assert 0.3 < long.mean() < 0.7
    assert jobs.output_tokens[long].min() >= 20 and jobs.output_tokens[long].max() <= 80
    assert jobs.prompt_tokens[~long].min() >= 10 and jobs.prompt_tokens[~long].max() <= 30
    assert jobs.output_tokens[~long].min() >= 4 and jobs.output_tokens[~long].max() <= 16
    assert not jobs.timed


def test_fewer_requests_are_the_first_of_all(ours: Scenario) -> None:
    jobs, fewer = ours.workload(), ours.workload(30)
    assert len(fewer) == 30
    assert (jobs.prompt_tokens[:30] == fewer.prompt_tokens).all()
    assert (jobs.output_tokens[:30] == fewer.output_tokens).all()


def test_a_shape_is_scaled(tmp_path: Path) -> None:
    whole = _read(tmp_path, HEAD + 'shape = "azure-conv"')
    half = _read(tmp_path, HEAD + 'shape = "azure-conv"\nscale_lengths = 0.5')
    assert half.kv_pages() == pytest.approx(whole.kv_pages() / 2, abs=1)
    assert half.workload().prompt_tokens.mean() == pytest.approx(whole.workload().prompt_tokens.mean() / 2, rel=0.2)


def test_fitted_keeps_all_jobs_where_there_is_time(ours: Scenario, profile: Profile) -> None:
    jobs, rate = ours.fitted(profile, 1e6)
    assert len(jobs) == 80
    assert (jobs.output_tokens == ours.workload().output_tokens).all()
    # Four jobs at a time, 30 tokens each at a little over 10 ms: about 13 a second, a little less
    # for the prompts.
    assert 10 < rate < 13
    expected = ours.workload().at_rate(1.2 * rate)
    assert (jobs.arrival_ns == expected.arrival_ns).all()


def test_fitted_takes_the_first_jobs_where_there_is_none(ours: Scenario, profile: Profile) -> None:
    full, _ = ours.fitted(profile, 1e6)
    spans_s = {}
    for name, longest_s in (("long", 5.0), ("short", 1e-3)):
        jobs, rate = ours.fitted(profile, longest_s)
        count = len(jobs)
        assert (jobs.output_tokens == full.output_tokens[:count]).all()
        assert jobs.rate_per_s == pytest.approx(1.2 * rate)
        runs = [simulate(ours.machine(profile), policy, jobs) for policy in ("fcfs", "skipjoin", "adaptive")]
        spans_s[name] = (count, max(run.virtual_ns for run in runs) / 1e9)
    count, span_s = spans_s["long"]
    assert FEWEST_REQUESTS < count < 80 and 2.5 < span_s <= 5.0
    assert spans_s["short"][0] == FEWEST_REQUESTS  # a scenario of fewer jobs says nothing


def test_the_same_profile_fits_the_same_jobs(ours: Scenario, profile: Profile) -> None:
    (first, rate), (again, same) = ours.fitted(profile, 5.0), ours.fitted(profile, 5.0)
    assert rate == same
    assert np.array_equal(first.arrival_ns, again.arrival_ns)


@pytest.mark.parametrize(
    ("line", "instead", "field"),
    [
        ('title = "two kinds"\n', "", "title"),
        ("seed = 3", "seed = -1", "seed"),
        ("seed = 3", f"seed = {2**63}", "seed"),
        ("seed = 3", 'seed = "three"', "seed"),
        ("load = 1.2", "load = 0", "load"),
        ("load = 1.2", "load = nan", "load"),
        ("max_batch = 4", "max_batch = 65", "max_batch"),
        ("kv_mean_jobs = 6.0", "kv_mean_jobs = 1", "kv_mean_jobs"),
        ("kv_mean_jobs = 6.0", "kv_mean_jobs = inf", "kv_mean_jobs"),
        ("requests = 80", f"requests = {FEWEST_REQUESTS - 1}", "requests"),
        ('model = "tiny"', 'model = "huge"', "model"),
        ("load = 1.2", "load = 1.2\nspeed = 3", "speed"),
        ("load = 1.2", "load = 1.2\nmax_latency_ratio = 0", "max_latency_ratio"),
        ("tenths = 5\nprompt_tokens = [10", "tenths = 4\nprompt_tokens = [10", "tenths must sum to 10"),
        ("tenths = 5\nprompt_tokens = [10", "tenths = 0\nprompt_tokens = [10", "parts.0.tenths"),
        ("[10, 30]", "[30, 10]", "parts.0.prompt_tokens"),
        ("[10, 30]", "[0, 10]", "parts.0.prompt_tokens.0"),
        ("[20, 80]", "[20]", "parts.1.output_tokens"),
        ("[20, 80]", "[20, 80.5]", "parts.1.output_tokens.1"),
        ("load = 1.2", 'load = 1.2\nshape = "azure-conv"', "shape or parts"),
        (PARTS, "", "shape or parts"),
        (PARTS, 'shape = "nobody"', "azure-conv"),
        ("load = 1.2", "load = ", "is no TOML file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, instead: str, field: str) -> None:
    text = HEAD + PARTS
    assert text.count(line) == 1
    with pytest.raises(InvalidSettings) as caught:
        _read(tmp_path, text.replace(line, instead))
    assert field in str(caught.value)
    assert "mine.toml" in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"none\.toml cannot be read: No such file"):
        load_scenario(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match=r"bytes\.toml, line 1 is not UTF-8"):
        load_scenario(tmp_path / "bytes.toml")
