"""`skipjoin rank`: a rank of an engine that runs on another machine.

Owns the flags and what the environment says instead of them. It does not know how a rank joins
(`joining`) or computes. `cli.py` calls it, and `skipjoin serve --ranks env` where it is not rank 0.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from ...core.errors import InvalidSettings

WAIT_S = 60.0
_LONGEST_S = 86_400.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `skipjoin rank`."""
    parser.epilog = "Which rank this is say RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE, as torchrun sets them."
    parser.add_argument(
        "--connect",
        metavar="HOST:PORT",
        default=None,
        help="where rank 0 listens (default: SKIPJOIN_RANKS_LISTEN, else MASTER_ADDR and MASTER_PORT)",
    )
    parser.add_argument(
        "--secret",
        type=Path,
        metavar="FILE",
        default=None,
        help="file of the secret that all ranks share (default: SKIPJOIN_RANKS_SECRET)",
    )
    parser.add_argument(
        "--model", type=Path, metavar="FOLDER", default=None, help="the model's folder, where rank 0 has it elsewhere"
    )
    parser.add_argument(
        "--wait-s",
        type=float,
        metavar="S",
        default=WAIT_S,
        help="end when there has been no rank 0 for so long (default: %(default)g)",
    )


def run(args: argparse.Namespace) -> int:
    """Be a rank until there is no rank 0 any more. Raises SkipjoinError."""
    if not 0 < args.wait_s <= _LONGEST_S:
        raise InvalidSettings("--wait-s is out of bounds.", field="wait_s", limit=f"0..{_LONGEST_S:g} s")
    connect = args.connect or os.environ.get("SKIPJOIN_RANKS_LISTEN") or None
    said = os.environ.get("SKIPJOIN_RANKS_SECRET")
    secret = args.secret or (Path(said) if said else None)
    return be_rank(connect, secret, args.model, args.wait_s, os.environ)


def be_rank(
    connect: str | None, secret: Path | None, model: Path | None, wait_s: float, environ: Mapping[str, str]
) -> int:
    """Be the rank that the environment names. Raises InvalidSettings, Denied, Unavailable."""
    from ...executor.ranks.secret import read_secret
    from ..logs import log_to_stderr
    from .berth import berth_of, meeting_address
    from .joining import Joining

    log_to_stderr("info", "text")
    berth = berth_of(environ)
    if berth.rank == 0:
        raise InvalidSettings(
            "Rank 0 is the server itself: start it with `skipjoin serve --ranks env`.", field="RANK", limit="at least 1"
        )
    try:
        address = meeting_address(environ, connect)
    except ValueError:
        raise InvalidSettings(
            "--connect is no address.", field="ranks_listen", limit="HOST:PORT, a port of 1..65535"
        ) from None
    Joining(berth, address, read_secret(secret), wait_s, model).keep()
    return 0
