"""What `--trace` may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipjoin.core.errors import InvalidTrace
from skipjoin.workload.shape import Shape, shape_names
from skipjoin.workload.source import open_source
from skipjoin.workload.trace import Trace

ROWS = "arrival_s,prompt_tokens,output_tokens\n0,1,2\n1,3,4\n"


def test_shapes_that_ship() -> None:
    assert shape_names() == ["azure-code", "azure-conv", "mooncake", "reasoning", "sharegpt"]
    for name in shape_names():
        shape = open_source(f"shape:{name}", None)
        assert isinstance(shape, Shape)
        assert shape.name == name
        assert len(shape.source) > 40


@pytest.mark.parametrize("place", ["traces/week.dev.csv", "traces/week.csv", "week.csv"])
def test_a_name_in_the_data_folder(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(ROWS)
    trace = open_source("week", str(tmp_path))
    assert isinstance(trace, Trace)
    assert trace.name == "week"
    assert len(trace) == 2
    assert len(open_source(str(path), None, limit=1)) == 1  # type: ignore[arg-type]


def test_an_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "week.dev.csv").write_text(ROWS)
    with pytest.raises(InvalidTrace) as caught:
        open_source("weak", str(tmp_path))
    assert "week" in str(caught.value)
    assert "azure-conv" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(InvalidTrace, match="names no folder"):
        open_source("weak", None)
    with pytest.raises(InvalidTrace, match="azure-conv"):
        open_source("shape:azure", None)
    with pytest.raises(InvalidTrace):
        open_source("../traces/week", str(tmp_path))
