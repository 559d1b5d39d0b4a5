"""The tables of the SQLite job pool.

Owns the statements that make them, those that bring an older format up to date, and the format's
number. It runs nothing; `database.py` does. A change of any table is a new VERSION, and a step from
the one before where acknowledged jobs can be kept.

`job` holds what changes, in rows that stay small; `prompt` what never does. `turn` is the log's
tail, a row per commit; `piece` is the rest of it, a job's tokens from a position on. Columns of
tokens are little-endian int32. Every row has the checksum of its other columns, in their order
(`turn` without its id): what a disk gives back wrong is not taken for what was stored.
"""

from __future__ import annotations

APPLICATION_ID = 0x534B4A50  # "SKJP"
VERSION = 3

ACCEPTED, CLAIMED = 0, 1  # `job.state` of unfinished jobs; the partial indexes below name them

TURN_TABLE = """CREATE TABLE turn (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    jobs BLOB NOT NULL,
    positions BLOB NOT NULL,
    counts BLOB NOT NULL,
    tokens BLOB NOT NULL,
    logprobs BLOB,
    checksum INTEGER NOT NULL DEFAULT 0
) STRICT"""

SCHEMA = (
    """CREATE TABLE pool (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        epoch INTEGER NOT NULL,
        owner TEXT NOT NULL,
        page_key BLOB NOT NULL
    ) STRICT""",
    "INSERT INTO pool VALUES (1, 0, '', randomblob(32))",
    """CREATE TABLE job (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL UNIQUE,
        tenant TEXT NOT NULL,
        request_id TEXT,
        body_digest BLOB NOT NULL,
        sampling TEXT NOT NULL,
        submitted_unix_ns INTEGER NOT NULL,
        deadline_unix_ns INTEGER,
        cancel_on_disconnect INTEGER NOT NULL,
        state INTEGER NOT NULL DEFAULT 0,
        epoch INTEGER,
        crashes INTEGER NOT NULL DEFAULT 0,
        folded_tokens INTEGER NOT NULL DEFAULT 0,
        cancel_reason TEXT,
        finish TEXT,
        failure_code TEXT,
        failure_message TEXT,
        finished_unix_ns INTEGER,
        account TEXT,
        priority INTEGER NOT NULL DEFAULT 0,
        earlier_output_tokens INTEGER NOT NULL DEFAULT 0,
        prompt_tokens INTEGER NOT NULL DEFAULT 0,
        checksum INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    "CREATE UNIQUE INDEX job_by_request ON job (tenant, request_id) WHERE request_id IS NOT NULL",
    "CREATE INDEX job_by_tenant ON job (tenant, seq)",
    f"CREATE INDEX job_accepted ON job (seq) WHERE state = {ACCEPTED}",
    f"CREATE INDEX job_due ON job (deadline_unix_ns) WHERE state = {ACCEPTED} AND deadline_unix_ns IS NOT NULL",
    f"CREATE INDEX job_claimed ON job (epoch, seq) WHERE state = {CLAIMED}",
    "CREATE INDEX job_finished ON job (finished_unix_ns) WHERE finished_unix_ns IS NOT NULL",
    """CREATE TABLE prompt (
        seq INTEGER PRIMARY KEY REFERENCES job (seq) ON DELETE CASCADE,
        tokens BLOB NOT NULL,
        checksum INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    TURN_TABLE,
    """CREATE TABLE piece (
        seq INTEGER NOT NULL REFERENCES job (seq) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        tokens BLOB NOT NULL,
        logprobs BLOB,
        checksum INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (seq, position)
    ) STRICT""",
)

JOB_COLUMNS = (
    "seq", "job_id", "tenant", "request_id", "body_digest", "sampling", "submitted_unix_ns", "deadline_unix_ns",
    "cancel_on_disconnect", "state", "epoch", "crashes", "folded_tokens", "cancel_reason", "finish", "failure_code",
    "failure_message", "finished_unix_ns", "account", "priority", "earlier_output_tokens", "prompt_tokens",
)  # fmt: skip
"""What the checksum of a row of `job` is made of, in this order."""
JOB_CHECKSUM = f"checksum({', '.join(JOB_COLUMNS)})"
PROMPT_CHECKSUM = "checksum(seq, tokens)"
TURN_CHECKSUM = "checksum(jobs, positions, counts, tokens, logprobs)"
PIECE_CHECKSUM = "checksum(seq, position, tokens, logprobs)"

STEPS = {
    1: (
        "ALTER TABLE job ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE job ADD COLUMN earlier_output_tokens INTEGER NOT NULL DEFAULT 0",
    ),
    2: (
        "ALTER TABLE job ADD COLUMN prompt_tokens INTEGER NOT NULL DEFAULT 0",
        *(
            f"ALTER TABLE {table} ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0"
            for table in ("job", "prompt", "turn", "piece")
        ),
        "UPDATE job SET prompt_tokens = coalesce((SELECT length(tokens) / 4 FROM prompt WHERE prompt.seq = "
        "job.seq), 0)",
        f"UPDATE job SET checksum = {JOB_CHECKSUM}",
        f"UPDATE prompt SET checksum = {PROMPT_CHECKSUM}",
        f"UPDATE turn SET checksum = {TURN_CHECKSUM}",
        f"UPDATE piece SET checksum = {PIECE_CHECKSUM}",
    ),
}
"""Format -> what makes the next one of it. A step may name today's columns only as long as later
steps add none of them before it.
"""
