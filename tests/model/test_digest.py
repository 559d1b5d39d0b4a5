"""Ranks compare what they have read by a digest of the folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from skipjoin.model.weights.digest import weights_digest


def test_the_same_folder_elsewhere_has_the_same_digest(tiny_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    assert weights_digest(copy) == weights_digest(tiny_folder)
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1, sort_keys=True))
    assert weights_digest(copy) == weights_digest(tiny_folder), "only laid out otherwise"


def test_another_config_before_the_same_weights_is_another_model(tiny_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    path = copy / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"rms_norm_eps": 0.25}))
    assert weights_digest(copy) != weights_digest(tiny_folder)


def test_other_numbers_in_tensors_of_the_same_shape_are_another_model(tiny_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    (path,) = copy.glob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert weights_digest(copy) != weights_digest(tiny_folder)
