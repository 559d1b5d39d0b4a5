"""The commands of one device: `skipjoin bench kernels|step|turn|pool|against`.

Owns their flags; the table of actions says which module runs each.
"""

from __future__ import annotations

import argparse

from ...console.json_flag import add_json_flag
from ..flags import Flags

BENCHES = ("turn", "engine", "pool")
"""What `bench against` can compare."""


def configure_kernels(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench kernels`."""
    flags = _device_flags(parser, "auto", "shapes of your own, as those in bench/device/kernels/shapes")
    flags.value("only", "NAME", "a kernel (attention, norm, ...), or part of a case's name")
    flags.switch("no-flex", "leave FlexAttention out, which takes long to compile")
    flags.switch("tune", "instead: find the quickest kernel sizes of this GPU and write them down")
    flags.value("head-dims", "D,D", "for --tune: head sizes", "64,128")
    flags.value("out", "FILE", "for --tune: where to write them (default: where every start looks)")


def configure_step(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench step`."""
    flags = _device_flags(
        parser, "as the scenario says", "iterations of your own, as those in bench/device/step/scenarios"
    )
    flags.value("only", "NAME", "decode, prefill, moves or idle, or part of a case's name")


def _device_flags(parser: argparse.ArgumentParser, dtype: str, scenario: str) -> Flags:
    flags = Flags(parser)
    flags.value("device", "DEVICE", "auto, cpu, cuda, cuda:N", "auto")
    flags.value("dtype", "DTYPE", f"float32, float16, bfloat16, auto (default: {dtype})")
    flags.value("threads", "N", "CPU threads (default: as serve)", kind=int)
    flags.value("scenario", "FILE", scenario)
    flags.value("repeats", "N", "rounds, at least 3", 5)
    add_json_flag(parser, "the figures, a line each,")
    flags.value("plot", "FILE", "write a picture there (SVG)")
    return flags


def configure_turn(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench turn`."""
    flags = Flags(parser)
    flags.value("batch", "B", "", 256)
    flags.value("live", "N", "live jobs", 1000)
    flags.value("queued", "N", "the long queue", 100_000)
    flags.value("turns", "N", "timed turns each", 1000)
    flags.value("decode-batch", "B", "beside a model", 64)
    flags.value("decodes", "N", "timed iterations", 200)
    flags.value("model", "MODEL", "a folder or id of the hub that computes them (default: small, random)")
    flags.choice("only", ("turn", "engine", "pace"), "turns without a model, beside one, or whole simulated runs")
    add_json_flag(parser, "the figures")


def configure_pool(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench pool`."""
    flags = Flags(parser)
    flags.value("seconds", "S", "per figure", 5.0)
    flags.value("dir", "DIR", "where the durable pool is made (default: a temporary folder)")
    add_json_flag(parser, "the figures")


def configure_against(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench against`."""
    parser.add_argument("checkout", metavar="CHECKOUT", help="the other code: a folder with a checkout of skipjoin")
    Flags(parser).value("rounds", "N", "each measures so often", 5)
    add_json_flag(parser, "the figures")
    parser.add_argument("bench", choices=BENCHES, help="what is measured")
    parser.add_argument("flags", nargs=argparse.REMAINDER, metavar="-- FLAGS", help="of the benchmark")
