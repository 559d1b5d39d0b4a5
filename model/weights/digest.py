"""Whether two ranks have the same weights before them.

Owns the digest of a model folder: what config.json says, names, shapes and precisions of all
tensors, and samples of every file's bytes. It reads a few megabytes of any model, so that ranks can compare
before they serve; it proves no file whole.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from .checkpoint import Checkpoint

_SAMPLES = 64
_SAMPLE_BYTES = 4096


def weights_digest(folder: Path) -> str:
    """Hex digits. Raises InvalidModel for a folder that cannot be loaded."""
    checkpoint = Checkpoint(folder)
    config = json.loads((folder / "config.json").read_bytes())
    told = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, entry in sorted(checkpoint.entries.items()):
        told.update(f"{name} {entry.dtype} {entry.shape}\n".encode())
    for path in sorted({entry.file for entry in checkpoint.entries.values()}):
        size = path.stat().st_size
        told.update(f"{size}\n".encode())
        with path.open("rb") as file:
            for sample in range(_SAMPLES):
                file.seek(max(0, size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
                told.update(file.read(_SAMPLE_BYTES))
    return told.hexdigest()
