"""`skipjoin bench peers install|list|remove`.

Owns the flags and the lines. It installs nothing itself; `bench/command.py` calls it.
"""

from __future__ import annotations

import argparse

from ...core.errors import InvalidSettings
from .catalogue import DEVICES, PEERS, Peer, peer_named
from .home import Home


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench peers`."""
    parser.add_argument(
        "what", choices=("install", "list", "remove"), help="each peer has a virtual environment of its own"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)}")
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="cpu",
        help="for which torch is built; each has an environment (default: cpu)",
    )


def run(args: argparse.Namespace) -> int:
    """Do it. Raises InvalidSettings, Unavailable."""
    from ..progress import Bar
    from .install import install

    peers = [peer_named(name, "names") for name in args.names]
    if args.what == "list":
        _list(peers or list(PEERS.values()), args.device)
        return 0
    if not peers:
        raise InvalidSettings(f"Name the peers to {args.what}.", field="names", limit=f"of {', '.join(PEERS)}")
    if args.what == "install":
        with Bar() as bar:
            for peer in peers:
                install(Home(peer, args.device), bar)
        return 0
    for peer in peers:
        print(f"{peer.name}: {'removed' if Home(peer, args.device).remove() else 'was not there'}")
    return 0


def _list(peers: list[Peer], device: str) -> None:
    for peer in peers:
        home = Home(peer, device)
        told = peer.unable(device) or home.version() or home.absence
        print(f"{peer.name:<16} {peer.title:<32} {told}")
