"""The results of a matrix on disk: `results.jsonl`, a line a run, added as it ends.

Owns what a line of this code must hold, and which lines are about the same thing. `runner` appends,
the report reads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ...core.errors import InvalidInput, InvalidSettings
from ...scheduler.series import parse
from ..result_lines import Line, ResultLines, parsed
from ..scenario_file import fault_of

FILE = "results.jsonl"
FLAG = "out"


def _series(name: str) -> str:
    try:
        parse(name)
    except InvalidSettings as bad:
        raise ValueError(bad.message) from None
    return name


Number = Annotated[float, Field(ge=0, le=1e18)]
Positive = Annotated[float, Field(ge=1e-12, le=1e18)]
Whole = Annotated[int, Field(ge=0, le=10**18)]
Series = Annotated[str, AfterValidator(_series)]
Pairs = list[Annotated[list[Number], Field(min_length=2, max_length=2)]]


class _Part(BaseModel):
    """An object of a line; what summary and report do not read is not looked at."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True)


class _Drain(_Part):
    drain_rate_per_s: Positive


class _RunKey(_Part):
    trace: str
    seed: Whole
    batch: Whole
    requests: Whole
    warmup: Whole
    profile: str
    inputs: str
    load: Positive
    policy: Series


class _Bounds(_Part):
    alone: Number
    work: Number


class _Result(_Part):
    requests: Positive
    mean_jct_s: Number | None
    p99_jct_s: Number | None
    mean_normalized_latency_s: Number | None
    mean_ttft_s: Number | None
    mean_tpot_s: Number | None
    max_slowdown: Number | None
    output_token_throughput: Number | None
    preemptions: Number
    bytes_moved: Number


class _Run(_Part):
    key: _RunKey
    bounds: _Bounds
    result: _Result
    jct_s: Annotated[list[Positive], Field(min_length=1)]


class _SmallKey(_Part):
    policy: Series


class _Job(_Part):
    prompt_tokens: Whole
    output_tokens: Whole
    arrival_s: Number
    first_token_s: Number
    end_s: Positive
    runs_s: Pairs


class _Timeline(_Part):
    key: _SmallKey
    jobs: Annotated[list[_Job], Field(min_length=1)]


class _ReferenceKey(_Part):
    name: str
    source: str
    points: Pairs


class _Reference(_Part):
    key: _ReferenceKey


KINDS: dict[str, type[_Part]] = {"drain": _Drain, "run": _Run, "timeline": _Timeline, "reference": _Reference}


def fault(line: Line, code: str) -> str | None:
    """The first field that is missing or no value of its kind; "" for what is no result at all."""
    kind, key, its_code = (line.get(name) for name in ("kind", "key", "code"))
    if not (isinstance(kind, str) and isinstance(key, dict) and isinstance(its_code, str)):
        return ""
    if its_code != code or kind not in KINDS:
        return None
    try:
        KINDS[kind].model_validate(line)
    except ValidationError as bad:
        return fault_of(bad)[0]
    return None


def identity(line: Line) -> str:
    """What two lines of one code about the same thing have in common."""
    return json.dumps([line["kind"], line["key"]], sort_keys=True)


class Store(ResultLines):
    """Results in a folder, of one code version."""

    def __init__(self, folder: Path, code: str) -> None:
        """Make the folder, read what is there. Raises InvalidInput, Unavailable."""
        super().__init__(folder / FILE, FLAG, lambda line, _: fault(line, code))
        self.code = code
        self._known = {identity(line): line for line in self.lines if line["code"] == code}

    def find(self, kind: str, key: Line) -> Line | None:
        """The line of this code version about `key`, if there is one."""
        return self._known.get(identity({"kind": kind, "key": key}))

    def results(self) -> list[Line]:
        """The lines of this code version, in the order they were written."""
        return list(self._known.values())

    def add(self, line: Line) -> None:
        """Append `line` as a result of this code version."""
        line = {"kind": line["kind"], "code": self.code, **line}
        super().add(line)
        self._known[identity(line)] = line


def read_results(folder: Path) -> list[Line]:
    """The lines of the code that wrote last, one per key, but for a torn last one. Raises
    InvalidInput.
    """
    try:
        data = (folder / FILE).read_bytes()
    except OSError as bad:
        raise InvalidInput(f"{FILE} in {folder.name} cannot be read: {bad.strerror}.", field="DIR") from None
    lines = parsed(data, FILE, FLAG, lambda line, last: fault(line, str(last.get("code"))))
    if not lines:
        raise InvalidInput(f"{FILE} in {folder.name} holds no result yet.", field="DIR")
    return list({identity(one): one for one in lines if one["code"] == lines[-1]["code"]}.values())
