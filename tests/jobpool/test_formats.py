"""Pools that older versions wrote, kept as SQL in tests/golden/formats, are opened with every value
as it was acknowledged.

The files were written by those versions' own code. The newest format has one too: a number or a
word that changes its meaning in the store would be read wrong from every pool there is.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from job_pools import job_id, new_job, submit_one

from skipjoin.core.errors import StoreUnavailable
from skipjoin.core.ids import TenantId
from skipjoin.core.job import FinishReason, JobState
from skipjoin.core.logprobs import TokenLogprobs
from skipjoin.core.pool import JobRecord, view_of
from skipjoin.core.sampling import SamplingParams
from skipjoin.jobpool.schema import VERSION
from skipjoin.jobpool.sqlite import SqliteJobPool

GOLDEN = Path(__file__).parents[1] / "golden" / "formats"
FORMATS = range(1, VERSION + 1)
BEGUN = 1_700_000_000 * 10**9
FULL = SamplingParams(
    temperature=0.5, top_k=7, top_p=0.75, min_p=0.125, repetition_penalty=1.5, presence_penalty=-0.5,
    frequency_penalty=0.25,
    seed=2**63 - 1, max_new_tokens=77, stop=("end", "é\n"), stop_token_ids=(3, 5), ignore_eos=True, logprobs=2,
)  # fmt: skip
ENDS = {
    2: (JobState.SUCCEEDED, FinishReason.STOP),
    3: (JobState.SUCCEEDED, FinishReason.LENGTH),
    4: (JobState.CANCELLED, FinishReason.CANCELLED),
    5: (JobState.EXPIRED, FinishReason.EXPIRED),
    6: (JobState.FAILED, FinishReason.FAILED),
    11: (JobState.EXPIRED, FinishReason.EXPIRED),
}
LOGGED = {1: 3, 2: 2, 7: 5, 8: 520}


def _restore(version: int, path: Path) -> None:
    """The file as that version left it."""
    connection = sqlite3.connect(path)
    connection.executescript((GOLDEN / f"pool-format-{version}.sql").read_text(encoding="utf-8"))
    connection.close()


def _tables(path: Path) -> tuple[int, dict[str, list[tuple[object, ...]]]]:
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    columns = {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in sorted(names)}
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return version, columns


def _log(number: int) -> list[int]:
    return [(number * 1_000_003 + at * 7919) % 50_000 for at in range(LOGGED.get(number, 0))]


def _check_fields(record: JobRecord, version: int) -> None:
    number = int(record.job.job_id, 16)
    job, newer = record.job, version > 1
    state, finish = ENDS.get(number, (JobState.ACCEPTED if number in (10, 12) else JobState.CLAIMED, None))
    assert (record.state, record.finish) == (state, finish)
    assert record.output_tokens == LOGGED.get(number, 0)
    assert view_of(record).prompt_tokens == 3
    assert record.epoch == (None if number in (10, 11, 12) else 1)
    assert record.crashes == (2 if number == 9 else 0)
    assert record.cancel_requested == (number == 7)
    assert record.failure == (("POISON_JOB", "It broke.") if number == 6 else None)
    assert record.finished_unix_ns == (BEGUN + 5 if number == 11 else BEGUN + 100 * number if finish else None)
    assert (record.account_json is None) == (number != 2)
    assert job.tenant == {1: "red", 12: "blau-ü"}.get(number, "default")
    assert job.request_id == {1: "r-1", 7: "r-7"}.get(number)
    assert job.submitted_unix_ns == BEGUN + number
    assert job.deadline_unix_ns == {1: BEGUN + 10**12, 11: BEGUN + 5}.get(number)
    assert job.cancel_on_disconnect == (number == 1)
    assert (job.asked.priority, job.earlier_output_tokens) == (
        {1: (-9, 77), 12: (4, 5)}.get(number, (0, 0)) if newer else (0, 0)
    )
    assert job.asked.sampling == (FULL if number == 1 else SamplingParams(seed=number, max_new_tokens=2000))


@pytest.mark.parametrize("version", FORMATS)
def test_every_value_of_a_stored_job_is_read_as_it_was_meant(path: Path, version: int) -> None:
    _restore(version, path)
    pool = SqliteJobPool(path)
    for number in range(1, 13):
        _check_fields(pool.get(job_id(number)), version)
        assert pool.tokens(job_id(number), 0).tokens.tolist() == _log(number)
    account = view_of(pool.get(job_id(2))).account
    assert account is not None
    assert tuple(account) == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    ladder = (
        TokenLogprobs(-0.125, ((1, -0.5), (3, float("-inf")))),
        TokenLogprobs(-0.25, ((2, -0.5), (3, float("-inf")))),
    )
    assert pool.tokens(job_id(1), 0).logprobs == (None, *ladder)
    pool.close()


@pytest.mark.parametrize("version", FORMATS)
def test_an_old_pool_is_taken_over_and_goes_on(path: Path, version: int) -> None:
    _restore(version, path)
    pool = SqliteJobPool(path)
    epoch = pool.open_epoch("b")
    assert epoch == 2
    taken = pool.claim(epoch, 99)
    assert [int(record.job.job_id, 16) for record in taken] == [1, 7, 8, 9, 10, 12]
    for record in taken:
        number = int(record.job.job_id, 16)
        assert record.job.prompt.tolist() == [number, 2 * number, 50_000 - number]
        assert record.generated.tolist() == _log(number)
    again = submit_one(pool, new_job(99, tenant=TenantId("red"), request_id="r-1", body="1"))
    assert again.job.job_id == job_id(1)
    assert int(submit_one(pool, new_job(50, priority=-7)).job.job_id, 16) == 50
    assert pool.depth().final == len(ENDS)
    pool.close()
    fresh = path.with_name("fresh.sqlite")
    SqliteJobPool(fresh).close()
    assert _tables(path) == _tables(fresh)
    assert _tables(path)[0] == VERSION


def test_a_step_that_cannot_be_written_leaves_the_file_as_it_was(path: Path) -> None:
    _restore(1, path)
    before = _tables(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # another program writes
    with pytest.raises(StoreUnavailable):
        SqliteJobPool(path, busy_timeout_ms=1)
    other.execute("ROLLBACK")
    other.close()
    assert _tables(path) == before
    SqliteJobPool(path).close()
    assert _tables(path)[0] == VERSION
