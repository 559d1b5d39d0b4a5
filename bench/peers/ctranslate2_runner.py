"""CTranslate2 behind JSON lines.

Owns the conversion of a model folder, kept for the next time, and the call. `boot` starts it in the
peer's own environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ...core.clock import MonotonicClock
from .talk import Answer, Asked, Generate, serve_decoding

KEPT = 2


def converted(model: Path, kept: Path) -> Path:
    """The folder that CTranslate2 reads, made of `model` once for the same contents.

    The `KEPT` that were wanted last stay; older ones, and what was left half-made, are deleted.
    """
    digest = hashlib.sha256()
    for path in sorted(model.glob("*.json")) + sorted(model.glob("*.safetensors")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    folder = kept / digest.hexdigest()[:16]
    if not folder.is_dir():
        from ctranslate2.converters import TransformersConverter

        making = kept / f"{folder.name}.new"
        shutil.rmtree(making, ignore_errors=True)
        making.parent.mkdir(parents=True, exist_ok=True)
        TransformersConverter(str(model)).convert(str(making))
        making.rename(folder)
    os.utime(folder)
    by_use = sorted((path for path in kept.iterdir() if path.is_dir()), key=lambda path: -path.stat().st_mtime_ns)
    for at, path in enumerate(by_use):
        if at >= KEPT or path.suffix == ".new":
            shutil.rmtree(path, ignore_errors=True)
    return folder


def load(asked: Asked) -> tuple[Mapping[str, str], Generate]:
    """Convert, and load in float32 on the CPU."""
    import ctranslate2

    clock = MonotonicClock()
    folder = converted(Path(asked["model"]), Path(asked["kept"]))
    words: list[str] = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    generator = ctranslate2.Generator(
        str(folder), device="cpu", compute_type="float32", inter_threads=1, intra_threads=asked["threads"]
    )

    def generate(asked: Asked) -> Answer:
        prompts, tokens = [[words[token] for token in prompt] for prompt in asked["prompts"]], asked["new_tokens"]
        begun_ns = clock.now_ns()
        results = generator.generate_batch(
            prompts,
            max_batch_size=len(prompts),
            max_length=tokens,
            # This keeps the end token out, where the others go on behind it: outputs differ from
            # there.
            min_length=tokens,
            beam_size=1,
            sampling_topk=1,
            include_prompt_in_result=False,
        )
        taken_ns = clock.now_ns() - begun_ns
        return {"ns": taken_ns, "tokens": [result.sequences_ids[0] for result in results]}

    return {"ctranslate2": ctranslate2.__version__}, generate


def main() -> None:
    """Serve until the input ends."""
    serve_decoding(load)
