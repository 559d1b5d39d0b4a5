"""Files made to cost time or memory, or to reach elsewhere, are refused by name before they are
parsed; a hub cache's links go on working.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from skipjoin.core.errors import InvalidModel
from skipjoin.model.config import load_config
from skipjoin.model.weights.loading import load_model


@pytest.fixture
def folder(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "model")
    return tmp_path / "model"


def refusal(folder):
    with pytest.raises(InvalidModel) as caught:
        load_model(folder)
    assert str(folder) not in str(caught.value), "no path of the machine in a message"
    return caught.value


def header(folder, text):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 256)


def entry(shape="[64]", offsets="[0, 256]", dtype='"F32"'):
    return f'{{"dtype": {dtype}, "shape": {shape}, "data_offsets": {offsets}}}'


NUMBERS = "[" + ",".join(["999999999"] * 400_000) + "]"
HEADERS = {
    "a shape of 400,000 numbers": f'{{"a": {entry(NUMBERS)}}}',
    "offsets of 400,000 numbers": f'{{"a": {entry(offsets=NUMBERS)}}}',
    "nested lists": f'{{"a": {entry("[" * 100_000 + "]" * 100_000)}}}',
    "nested objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a number of many digits": f'{{"a": {entry("[" + "9" * 100_000 + "]")}}}',
    "not a number": f'{{"a": {entry("[NaN]")}}}',
    "infinite": f'{{"a": {entry("[Infinity]")}}}',
    "a product beyond all files": f'{{"a": {entry("[281474976710656, 281474976710656]")}}}',
    "nothing times much": f'{{"a": {entry("[0, 999999999999999999999]")}}}',
    "offsets behind the end": f'{{"a": {entry(offsets="[256, 512]")}}}',
    "offsets backwards": f'{{"a": {entry(offsets="[256, 0]")}}}',
    "two tensors in one place": f'{{"a": {entry()}, "b": {entry()}}}',
    "one name twice": f'{{"a": {entry()}, "a": {entry()}}}',
    "one field twice": '{"a": {"dtype": "F32", "dtype": "F64", "shape": [64], "data_offsets": [0, 256]}}',
    "a list": "[1, 2]",
    "no UTF-8": '{"\udcff": 1}',
    "an unknown type": f'{{"a": {entry(dtype=chr(34) + "Q" * 1000 + chr(34))}}}',
    "a type that is a list": f'{{"a": {entry(dtype="[1]")}}}',
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_made_to_hurt(folder, name):
    header(folder, HEADERS[name].encode("utf-8", "surrogateescape"))
    assert "model.safetensors" in str(refusal(folder)) or name == "an unknown type"


def test_a_header_beyond_the_limit_is_not_read(folder):
    path = folder / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 90 * 2**20))
        file.truncate(100 * 2**20)
    refused = refusal(folder)
    assert refused.field == "model.safetensors" and "4194304 bytes" in refused.limit


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer_config.json", "model.safetensors.index.json"]
)
def test_a_json_file_of_half_a_gigabyte(folder, name):
    if name.startswith("model."):
        (folder / "model.safetensors").unlink()
    with (folder / name).open("wb") as file:
        file.write(b'{"a": "')
        file.truncate(500 * 2**20)
    refused = refusal(folder)
    assert refused.field == name and "bytes" in refused.limit


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, '{"a": ' + "9" * 200_000 + "}", "\ud800", "null"])
def test_json_made_to_hurt(folder, name, text):
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert refusal(folder).field == name


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[' + "1," * (2**22 + 1) + "1]}",
        '{"a":[' + "[]," * 2**20 + "[]]}",
        "{" + ",".join(f'"{i:x}":1' for i in range(2**20 + 1)) + "}",
    ],
)
def test_a_vocabulary_of_more_than_any_model(folder, text):
    change_json(folder, "tokenizer_config.json", added_tokens_decoder=None)
    (folder / "tokenizer.json").write_text(text)
    refused = refusal(folder)
    assert refused.field == "tokenizer.json" and "values" in refused.limit


def change_json(folder, name, **fields):
    raw = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(raw | fields))


_LIMITED = """
import resource, sys
from pathlib import Path
from skipjoin.core.errors import InvalidModel
from skipjoin.model.weights.checkpoint import Checkpoint
from skipjoin.model.config import load_config
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for folder in map(Path, sys.argv[1:]):
    try:
        load_config(folder)
        Checkpoint(folder)
    except InvalidModel as refused:
        print(refused.field)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_what_is_within_the_limits_takes_little_memory(tiny_folder, tmp_path):
    """At most 400 MB more, for files that fill their limit with what costs most to parse."""
    numbers, names, objects, half = (tmp_path / name for name in ("numbers", "names", "objects", "half"))
    for folder in (numbers, names, objects, half):
        shutil.copytree(tiny_folder, folder)
    header(numbers, ('{"a": [' + "1.5," * (2**20 - 20) + "1]}").encode())
    header(names, ("{" + ",".join(f'"{i:07}":{{}}' for i in range(300_000)) + "}").encode())
    (objects / "config.json").write_text('{"a": [' + "{}," * (2**20 - 9) + "{}]}")
    with (half / "config.json").open("wb") as file:
        file.truncate(500 * 2**20)
    command = [sys.executable, "-c", _LIMITED, *map(str, (numbers, names, objects, half))]
    *fields, grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert fields == ["model.safetensors", "model.safetensors", "architectures", "config.json"]
    assert int(grown) * 1024 < 400 * 10**6


def as_in_a_hub_cache(folder, root):
    """snapshots/COMMIT/name -> ../../blobs/DIGEST"""
    snapshot, blobs = root / "snapshots" / "0123abcd", root / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for index, file in enumerate(sorted(folder.iterdir())):
        shutil.copyfile(file, blobs / f"blob{index}")
        (snapshot / file.name).symlink_to(f"../../blobs/blob{index}")
    return snapshot


def test_links_of_a_hub_cache(folder, tmp_path):
    snapshot = as_in_a_hub_cache(folder, tmp_path / "cache")
    assert load_config(snapshot) == load_config(folder)
    assert load_model(snapshot).parts.embedding.table.rows.equal(load_model(folder).parts.embedding.table.rows)


def test_a_link_to_nothing(folder, tmp_path):
    """A download that was cut off."""
    snapshot = as_in_a_hub_cache(folder, tmp_path / "cache")
    (snapshot / "model.safetensors").resolve().unlink()
    assert "a link to a file that is missing" in str(refusal(snapshot))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_what_is_no_file(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    refusal(folder)


@pytest.mark.parametrize(
    "weight_map",
    [
        [],
        {},
        {"a": "../x.safetensors"},
        {"a": "/etc/x.safetensors"},
        {"a": ".."},
        {"a": None},
        {"a": ["x.safetensors"]},
        {"a": "x.bin"},
        {"a": "x\0.safetensors"},
        {"a": "x.safetensors/"},
        {"a": "." * 5000 + ".safetensors"},
    ],
)
def test_an_index_that_points_elsewhere(folder, weight_map):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert refusal(folder).field == "model.safetensors.index.json"


def test_a_tensor_in_two_shards(folder):
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    shutil.copyfile(folder / "one.safetensors", folder / "two.safetensors")
    names = sorted(load_file(folder / "one.safetensors"))
    index = {names[0]: "one.safetensors", **dict.fromkeys(names[1:], "two.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert "is in two files" in str(refusal(folder))
