"""Makes the shape tables: `python -m skipjoin.workload.fit DIR` reads the traces in DIR and writes
`shapes/*.json`.

Owns which trace stands behind which shape and how the quantiles are taken. It is run by hand when a
source changes; nothing imports it but its test.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from ..core.plan import Int32s
from .formats import read_trace
from .shape import FOLDER
from .trace import Trace

GROUPS = 10
PROBABILITIES = (*(round(0.05 * step, 2) for step in range(20)), 0.975, 0.99, 0.995, 1.0)

_AZURE = "Azure/AzurePublicDataset @ b469a11 data/AzureLLMInferenceTrace_{}.csv, CC-BY 4.0 (Splitwise, ISCA'24)"

# shape -> trace in the folder, source as it stands in the table
SOURCES: dict[str, tuple[str, str]] = {
    "azure-conv": (
        "azure2023_conv",
        f"Azure LLM inference trace 2023, conversation, first part: {_AZURE.format('conv')}",
    ),
    "azure-code": (
        "azure2023_code",
        f"Azure LLM inference trace 2023, code, first part: {_AZURE.format('code')}",
    ),
    "sharegpt": (
        "sharegpt8k_lengths",
        "ShareGPT conversations, whole history in the prompt, at most 8k in all, Llama 2 tokens, lengths only:"
        " microsoft/sarathi-serve @ 72339db"
        " data/processed_traces/sharegpt_8k_filtered_stats_llama2_tokenizer.csv, Apache-2.0",
    ),
    "mooncake": (
        "mooncake_conversation",
        "Mooncake conversation trace, first part: kvcache-ai/Mooncake @ 3b5a594"
        " FAST25-release/traces/conversation_trace.jsonl, Apache-2.0 (FAST'25)",
    ),
    "reasoning": (
        "servegen_deepseek_r1",
        "DeepSeek-R1 requests resampled from production statistics, one hour: alibaba/ServeGen @ f891d11"
        " data/reason/deepseek-r1, Apache-2.0 (arXiv 2505.09999)",
    ),
}


def fit_shape(trace: Trace, name: str, source: str) -> dict[str, object]:
    """The JSON form of a shape: ten groups of equal share by prompt length, nearest-rank quantiles
    of both lengths in each.
    """
    order = np.argsort(trace.prompt_tokens, kind="stable")
    groups = [
        {
            "prompt_tokens": _quantiles(trace.prompt_tokens[part]),
            "output_tokens": _quantiles(trace.output_tokens[part]),
        }
        for part in np.array_split(order, GROUPS)
    ]
    return {
        "name": name,
        "source": source,
        "rows": len(trace),
        "mean_prompt_tokens": round(float(trace.prompt_tokens.mean()), 2),
        "mean_output_tokens": round(float(trace.output_tokens.mean()), 2),
        "probabilities": list(PROBABILITIES),
        "groups": groups,
    }


def _quantiles(values: Int32s) -> list[int]:
    return [int(value) for value in np.quantile(values, PROBABILITIES, method="inverted_cdf")]


def encode(shape: dict[str, object]) -> str:
    """One line a group, so that a change can be read in a diff."""
    parts: list[str] = []
    for key, value in shape.items():
        if isinstance(value, list) and isinstance(value[0], dict):
            rows = ",\n  ".join(json.dumps(group, separators=(",", ":")) for group in value)
            parts.append(f'"{key}": [\n  {rows}\n ]')
        else:
            parts.append(f'"{key}": {json.dumps(value)}')
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def main(folder: Path) -> None:
    """Write every shape from the traces in `folder`. Raises InvalidTrace."""
    for name, (stem, source) in SOURCES.items():
        shape = fit_shape(read_trace(folder / f"{stem}.dev.csv"), name, source)
        (FOLDER / f"{name}.json").write_text(encode(shape), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
