"""A model with random weights that stays in the cache between runs.

Owns the folder below the XDG cache and the making. Commands without `--model` measure it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from ..core.errors import InternalError
from .load.process import own_command, own_environment
from .progress import Bar

COMMAND_S = 300.0
SLOW_BYTES_A_S = 10e6
"""Weights are drawn and written at more than that anywhere."""


def cache_folder() -> Path:
    """What benchmarks keep between runs (XDG)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skipjoin"


def ensure_model(preset: str, bar: Bar) -> Path:
    """The model folder of `preset` in the cache, made when it is missing.

    Raises InvalidInput for a preset that there is not, or a disk without room; InternalError when
    it cannot be made.
    """
    from ..model.presets import check_room, preset_named

    folder = cache_folder() / f"{preset}-0"
    if (folder / "config.json").is_file() and any(folder.glob("model*.safetensors")):
        return folder
    size = preset_named(preset).weight_bytes
    folder.parent.mkdir(parents=True, exist_ok=True)
    check_room(folder.parent, preset)
    bar.note(f"making the model {preset} (random weights, {size / 2**30:.2g} GiB) in {folder}")
    # Into place in one step: an interrupted command must not leave half a model.
    with tempfile.TemporaryDirectory(dir=folder.parent) as making:
        words = ("model", "init", str(Path(making) / preset), "--preset", preset)
        run_command(*words, patience_s=COMMAND_S + size / SLOW_BYTES_A_S)
        (Path(making) / preset).rename(folder)
    return folder


def run_command(*words: str, patience_s: float = COMMAND_S) -> None:
    """Run `skipjoin WORDS...`. Raises InternalError with its last line when it fails."""
    done = subprocess.run(
        own_command(*words), env=own_environment(), capture_output=True, text=True, timeout=patience_s, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing."]
        raise InternalError(f"`skipjoin {words[0]} {words[1]}` failed: {lines[-1]}")
