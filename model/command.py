"""`skipjoin model`: make a model folder.

Owns the flags of `model init` and its one line of output. It does not know how a model is made;
presets does. The root command calls it.
"""

from __future__ import annotations

import argparse

LARGE_BYTES = 1 << 30
"""Weights from here on take their time: what is written is said before and meanwhile."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `model` and its sub-commands."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    init = actions.add_parser(
        "init",
        help="random weights, a tokenizer and a chat template in Hugging Face layout; the same seed gives the same "
        "model",
    )
    init.add_argument("dir", metavar="DIR", help="a new or empty folder")
    init.add_argument(
        "--preset",
        default="tiny",
        metavar="NAME",
        help="tiny: for tests; small: 32 M parameters; llama-3-8b: that shape, 15 GiB in bfloat16; tiny-mistral, "
        "tiny-qwen2, ...: of another"
        " family, as in docs/models.md (default: tiny)",
    )
    init.add_argument("--seed", type=int, default=0, metavar="N", help="of the random weights (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Make the folder. Raises InvalidInput for an unknown preset, a bad seed, a folder in use, or a
    disk without room.
    """
    from .presets import init_model, preset_named

    told = preset_named(args.preset)
    if large := told.weight_bytes >= LARGE_BYTES:
        print(f"{args.dir}: {told.weight_bytes / 2**30:.1f} GiB of weights in {told.dtype}", flush=True)
    shape = init_model(
        args.dir, args.preset, args.seed, written=lambda name: print(name, flush=True) if large else None
    )
    print(
        f"{args.dir}: {shape.layers} layers, hidden {shape.hidden}, vocabulary {shape.vocab_size}, random weights, "
        f"seed {args.seed}"
    )
    return 0
