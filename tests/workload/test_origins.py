"""Whose a request is and which answer it follows: read from a trace, kept in a window, handed to
the engine.
"""

from __future__ import annotations

from pathlib import Path

from skipjoin.workload.formats import read_trace
from skipjoin.workload.origins import Conversations
from skipjoin.workload.requests import make_workload
from skipjoin.workload.trace import Trace


def written(folder: Path, text: str, name: str = "some.csv") -> Trace:
    path = folder / name
    path.write_text(text)
    return read_trace(path)


def test_a_conversation_is_two_blocks_that_were_there_before() -> None:
    talk = Conversations()
    assert talk.add(["s", "a"], 10) == 0
    assert talk.add(["s", "b"], 20) == 0  # a system prompt alone is no conversation
    assert talk.add(["s", "a", "c"], 30) == 10
    assert talk.add(["s", "a", "c", "d"], 40) == 30  # the longest beginning
    assert talk.add(["s", "a", "x"], 50) == 40  # the newest that shares it
    assert talk.add(["t", "a"], 60) == 0
    assert talk.add([], 70) == 0


def test_the_same_block_elsewhere_is_another_beginning() -> None:
    talk = Conversations()
    talk.add(["a", "b"], 10)
    assert talk.add(["b", "a", "b"], 20) == 0


def test_clients_and_conversations_of_a_csv(tmp_path: Path) -> None:
    trace = written(
        tmp_path,
        "arrival_s,prompt_tokens,output_tokens,client_id,hash_ids_512tok\n"
        "0,600,5,7,0 1\n1,9000,6,8,0 2\n2,1200,7,7,0 1 3\n3,5,8,9,\n",
    )
    assert trace.origins is not None
    assert trace.origins.tenants == ("7", "8", "7", "9")
    assert trace.origins.earlier_output_tokens.tolist() == [0, 0, 5, 0]
    work = make_workload(trace, requests=3, warmup=0, seed=0, poisson=False, room_tokens=5000)
    assert work.origins is not None
    assert work.origins.tenants == ("7", "7")  # the one that does not fit is left out of every column
    assert work.origins.earlier_output_tokens.tolist() == [0, 5]
    again = make_workload(trace, requests=6, warmup=0, seed=0, poisson=True, room_tokens=None)
    assert again.origins is not None
    assert again.origins.tenants == ("7", "8", "7", "9", "7", "8")


def test_blocks_of_a_mooncake_file(tmp_path: Path) -> None:
    line = '{"timestamp": %d, "input_length": 1100, "output_length": %d, "hash_ids": %s}\n'
    text = line % (0, 9, "[1, 2]") + line % (1, 8, "[1, 2, 3]") + line % (2, 7, '"odd"') + line % (3, 6, "null")
    trace = written(tmp_path, text, "some.jsonl")
    assert trace.origins is not None
    assert trace.origins.earlier_output_tokens.tolist() == [0, 9, 0, 0]
    assert set(trace.origins.tenants) == {"default"}
