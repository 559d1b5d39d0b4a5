"""A process that runs cases of one form: interpreted on the CPU, compiled on a device, or compiled
for a device that is not here.

Owns the loop over requests, one JSON object a line. Triton decides when it is imported whether
kernels are interpreted, so each form has a process of its own and the rest of the suite stays as it
is. conftest.py starts it; the cases lie beside it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path


def main() -> None:
    sys.path.append(str(Path(__file__).parent))
    answers, sys.stdout = sys.stdout, sys.stderr
    import torch

    torch.set_num_threads(1)
    if os.environ["TRITON_INTERPRET"] == "1":
        _round_to_bfloat16()
    for line in sys.stdin:
        request = json.loads(line)
        module, _, name = request["case"].rpartition(".")
        answer: dict[str, object] = {"failure": None}
        try:
            answer["value"] = getattr(importlib.import_module(module), name)(**request["arguments"])
        except Exception:  # noqa: BLE001 - the test that asked tells of it
            answer["failure"] = traceback.format_exc()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _round_to_bfloat16() -> None:
    """Let the interpreter round float32 to bfloat16 as a device does: it cuts the digits off, an
    error twice as large.
    """
    import numpy as np
    import torch
    import triton.language as tl
    from triton.runtime import interpreter

    convert = interpreter._convert_float

    def rounded(data, source, target, mode):
        if (source, target) != (tl.float32, tl.bfloat16):
            return convert(data, source, target, mode)
        return torch.from_numpy(np.ascontiguousarray(data)).bfloat16().view(torch.int16).numpy().view(np.uint16)

    interpreter._convert_float = rounded


if __name__ == "__main__":
    main()
