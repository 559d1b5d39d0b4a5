"""`skipjoin model`: make a model folder.

Owns the flags of `model init` and its one line of output. It does not know how a model is made; presets does. The root command calls it.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `model` and its sub-commands."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    init = actions.add_parser(
        "init",
        help="random weights, a tokenizer and a chat template in Hugging Face layout; the same seed gives the same model",
    )
    init.add_argument("dir", metavar="DIR", help="a new or empty folder")
    init.add_argument(
        "--preset",
        default="tiny",
        metavar="NAME",
        help="tiny: for tests; small: 32 M parameters; tiny-mistral, tiny-qwen2, ...: of another family, as in docs/models.md (default: tiny)",
    )
    init.add_argument("--seed", type=int, default=0, metavar="N", help="of the random weights (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Make the folder. Raises InvalidInput for an unknown preset, a bad seed, or a folder in use."""
    from .presets import init_model

    shape = init_model(args.dir, args.preset, args.seed)
    print(
        f"{args.dir}: {shape.layers} layers, hidden {shape.hidden}, vocabulary {shape.vocab_size}, random weights, seed {args.seed}"
    )
    return 0
