"""`skipjoin bench run`.

Owns the flags and the JSON file. It measures nothing; `run` does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from dataclasses import fields
from typing import Any

from ...console.json_flag import add_json_flag
from ..flags import Flags
from ..json_file import write_json


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench run`."""
    flags = Flags(parser)
    flags.choice("target", ("skipjoin", "openai"), "", "skipjoin")
    flags.value("url", "URL", "HOST:PORT of gRPC for skipjoin, http://HOST:PORT for openai", required=True)
    flags.value("trace", "CSV|shape:NAME", "as in simulate", required=True)
    rate = Flags(parser.add_mutually_exclusive_group())
    rate.value("load", "R", "arrival rate over drain rate", kind=float)
    rate.value("rate", "R", "requests a second", kind=float)
    flags.value("drain-rate", "R", "for --load: requests a second; left out, it is measured first", kind=float)
    flags.switch("poisson", "draw fresh arrivals instead of the recorded ones")
    flags.value("requests", "N", "counted requests (default: the trace, 1000 of a shape)", kind=int)
    flags.value("warmup", "N", "requests before them, sent and not counted", 0)
    flags.value("scale-lengths", "F", "multiply prompt and output lengths", 1.0)
    flags.value("max-tokens", "K", "leave out requests with more tokens than this", kind=int)
    flags.value("vocab-size", "N", "token ids are drawn below this", 256)
    flags.value("seed", "S", "of lengths, arrivals and token ids", 0)
    flags.value("profile", "NAME|FILE", "cost profile, for max_slowdown")
    flags.value("metrics-url", "URL", "the skipjoin server's /metrics, for policy and bytes moved")
    flags.value("model", "NAME", "for openai (default: the server's first)")
    flags.value("token-file", "FILE", "bearer token (or the environment's SKIPJOIN_TOKEN)")
    flags.switch("tls", "for skipjoin: TLS with the system's roots")
    flags.value("tls-ca", "FILE", "for skipjoin: TLS with these roots (PEM)")
    add_json_flag(parser, "the figures")


def run(args: argparse.Namespace) -> int:
    """Measure. Raises SkipjoinError."""
    from ...core.clock import MonotonicClock
    from ...cost.profiles import load_profile
    from ..progress import Bar
    from .address import Address, connected
    from .render import print_load
    from .run import LoadQuestion, LoadStudy, study_load

    told: dict[str, Any] = {field.name: getattr(args, field.name, None) for field in fields(LoadQuestion)}
    told["data_folder"] = os.environ.get("SKIPJOIN_BENCH_DATA")
    told["profile"] = None if args.profile is None else load_profile(args.profile)
    question = LoadQuestion(**told)
    question.check()
    address = Address(args.target, args.url, args.model, args.metrics_url, args.token_file, args.tls_ca, args.tls)

    async def measure(bar: Bar) -> LoadStudy:
        clock = MonotonicClock()
        async with connected(address, clock) as target:
            return await study_load(question, args.target, target, clock, bar)

    with Bar() as bar:
        study = asyncio.run(measure(bar))
    print_load(study)
    write_json(args.json, study.as_json())
    return 0
