"""Reading traces: the formats as published, and every bad file."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipjoin.core.errors import InvalidTrace
from skipjoin.workload.formats import MAX_LINE_CHARS, read_trace
from skipjoin.workload.trace import MAX_OUTPUT_TOKENS, MAX_PROMPT_TOKENS

HEADER = "arrival_s,prompt_tokens,output_tokens\n"


def _file(folder: Path, text: str, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_own_format_with_more_columns_in_another_order(tmp_path: Path) -> None:
    trace = read_trace(
        _file(tmp_path, "tenant,output_tokens,arrival_s,prompt_tokens\na,3,1.5,10\nb,1,1.5,20\nc,7,2.25,1\n")
    )
    assert trace.name == "mine"
    assert trace.arrival_ns.tolist() == [0, 0, 750_000_000]
    assert trace.prompt_tokens.tolist() == [10, 20, 1]
    assert trace.output_tokens.tolist() == [3, 1, 7]
    assert trace.dropped_rows == 0
    assert trace.rate_per_s == pytest.approx(4.0)


def test_times_are_exact_to_the_nanosecond(tmp_path: Path) -> None:
    trace = read_trace(_file(tmp_path, HEADER + "0,1,1\n86399.123456789,1,1\n"))
    assert trace.arrival_ns.tolist() == [0, 86_399_123_456_789]


def test_a_byte_order_mark_crlf_blank_lines_and_no_last_newline(tmp_path: Path) -> None:
    trace = read_trace(_file(tmp_path, "\ufeff" + HEADER.replace("\n", "\r\n") + "0,1,2\r\n\r\n1,3,4"))
    assert trace.output_tokens.tolist() == [2, 4]


def test_limit_stops_before_a_later_fault(tmp_path: Path) -> None:
    path = _file(tmp_path, HEADER + "0,1,2\n1,1,3\n2,bad,3\n")
    assert read_trace(path, limit=2).output_tokens.tolist() == [2, 3]
    with pytest.raises(InvalidTrace):
        read_trace(path, limit=3)


def test_azure_with_seven_digits_and_failed_rows(tmp_path: Path) -> None:
    trace = read_trace(
        _file(
            tmp_path,
            "TIMESTAMP,ContextTokens,GeneratedTokens\n"
            "2023-11-16 18:15:46.6805900,374,44\n"
            "2023-11-16 18:15:47.0000000,12,0\n"
            "2023-11-16 18:15:50.9951690,396,109\n",
            "AzureLLMInferenceTrace_conv.csv",
        )
    )
    assert trace.arrival_ns.tolist() == [0, 4_314_579_000]
    assert trace.prompt_tokens.tolist() == [374, 396]
    assert trace.dropped_rows == 1


def test_azure_2024_with_a_zone(tmp_path: Path) -> None:
    rows = "2024-05-10 23:59:59.009930+00:00,2162,5\n2024-05-11 00:00:00+00:00,2399,6\n"
    trace = read_trace(_file(tmp_path, "TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows))
    assert trace.arrival_ns.tolist() == [0, 990_070_000]


def test_burstgpt(tmp_path: Path) -> None:
    trace = read_trace(
        _file(
            tmp_path,
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
            "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,Conversation log\n"
            "118.5,GPT-4,417,276,693,API log\n",
        )
    )
    assert trace.arrival_ns.tolist() == [0, 113_500_000_000]
    assert trace.output_tokens.tolist() == [18, 276]
    assert trace.dropped_rows == 1


def test_mooncake_jsonl(tmp_path: Path) -> None:
    lines = (
        '{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n'
        '{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46]}\n'
    )
    trace = read_trace(_file(tmp_path, lines, "conversation_trace.jsonl"))
    assert trace.arrival_ns.tolist() == [0, 3_053_000_000]
    assert trace.prompt_tokens.tolist() == [6955, 6472]


BAD_ROWS = [
    ("-1,5,5", "arrival_s", "before 0"),
    ("nan,5,5", "arrival_s", "finite"),
    ("inf,5,5", "arrival_s", "finite"),
    ("1e999,5,5", "arrival_s", "finite"),
    ("soon,5,5", "arrival_s", "finite"),
    (",5,5", "arrival_s", "finite"),
    ("1_0,5,5", "arrival_s", "finite"),
    ("0.5,5,5", "arrival_s", "order"),
    ("999999999999,5,5", "arrival_s", "ten years"),
    ("2,0,5", "prompt_tokens", "1.."),
    ("2,-3,5", "prompt_tokens", "1.."),
    ("2,1.5,5", "prompt_tokens", "whole"),
    ("2,nan,5", "prompt_tokens", "finite"),
    (f"2,{MAX_PROMPT_TOKENS + 1},5", "prompt_tokens", str(MAX_PROMPT_TOKENS)),
    ("2,5,0", "output_tokens", "1.."),
    (f"2,5,{MAX_OUTPUT_TOKENS + 1}", "output_tokens", str(MAX_OUTPUT_TOKENS)),
    ("2,5,99999999999999999999999999999999999999999999999", "output_tokens", "finite"),
]


@pytest.mark.parametrize(("row", "column", "word"), BAD_ROWS, ids=[row[:20] for row, _, _ in BAD_ROWS])
def test_a_bad_field_names_file_line_and_column(tmp_path: Path, row: str, column: str, word: str) -> None:
    with pytest.raises(InvalidTrace) as caught:
        read_trace(_file(tmp_path, HEADER + "1,1,1\n" + row + "\n"))
    said = str(caught.value)
    assert "mine.csv, line 3" in said
    assert f"column {column}" in said
    assert word in said
    assert caught.value.field == column
    assert str(tmp_path) not in said


BAD_FILES = [
    ("", "empty"),
    ("\n\n", "line 1 is blank"),
    ("\n" + HEADER + "1,2,3\n", "line 1 is blank"),
    (HEADER + "1e300,2,3\n", "line 2, column arrival_s: later"),
    (HEADER, "no usable row"),
    ("arrival_s,prompt_tokens\n1,2\n", "no column output_tokens"),
    ("TIMESTAMP,ContextTokens\n1,2\n", "no column GeneratedTokens"),
    ("a,b,c\n1,2,3\n", "no column"),
    ("arrival_s,prompt_tokens,output_tokens,arrival_s\n1,2,3,4\n", "twice"),
    (HEADER + "1,2\n", "line 2: 2 fields"),
    (HEADER + "1,2,3,4\n", "line 2: 4 fields"),
    (HEADER + '1,"2,3\n', "line 2"),
    ("1,2,3\n4,5,6\n", "no column"),
    ("TIMESTAMP,ContextTokens,GeneratedTokens\n16/11/2023,1,1\n", "line 2, column TIMESTAMP"),
    ('{"timestamp": 1, "input_length": 2, "output_length": 3}\n{"timestamp"\n', "line 2 is not a JSON object"),
    ('{"timestamp": 1, "input_length": 2, "output_length": 3}\n[1]\n', "line 2 is not a JSON object"),
    ('{"timestamp": 1, "input_length": 2}\n', "line 1: no field output_length"),
    ('{"timestamp": true, "input_length": 2, "output_length": 3}\n', "line 1, column timestamp"),
    ('{"timestamp": 1, "input_length": null, "output_length": 3}\n', "line 1, column input_length"),
    ('{"timestamp": 1, "input_length": 0, "output_length": 3}\n', "no usable row"),
]


@pytest.mark.parametrize(("text", "word"), BAD_FILES)
def test_a_bad_file_is_named(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(InvalidTrace) as caught:
        read_trace(_file(tmp_path, text))
    assert "mine.csv" in str(caught.value)
    assert word in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(HEADER.encode() + b"1,2,3\n2,\xe9,3\n")
    with pytest.raises(InvalidTrace, match=r"mine\.csv, line 3 is not UTF-8"):
        read_trace(path)
    path.write_text(HEADER + "1,2,3\n", encoding="utf-16")
    with pytest.raises(InvalidTrace, match=r"mine\.csv, line 1 is not UTF-8"):
        read_trace(path)


def test_a_year_that_no_clock_of_nanoseconds_reaches(tmp_path: Path) -> None:
    rows = "TIMESTAMP,ContextTokens,GeneratedTokens\n9999-12-31 23:59:58,5,5\n9999-12-31 23:59:59,5,5\n"
    assert read_trace(_file(tmp_path, rows)).arrival_ns.tolist() == [0, 10**9]


def test_a_line_without_end(tmp_path: Path) -> None:
    with pytest.raises(InvalidTrace, match="line 2 is longer"):
        read_trace(_file(tmp_path, HEADER + "1," + "2" * (MAX_LINE_CHARS + 5)))


def test_a_folder_or_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidTrace, match="cannot be read"):
        read_trace(tmp_path)
    with pytest.raises(InvalidTrace, match="cannot be read"):
        read_trace(tmp_path / "none.csv")
