"""Where peers live, and which of them do.

Owns the folders below the XDG cache and the stamp that says what was installed to the end.
`install` writes the stamp.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InvalidSettings, Unavailable
from ..cached_model import cache_folder
from .catalogue import Peer

STAMP = "installed.json"


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of a peer's build for a device; peers that share pins share it."""

    peer: Peer
    device: str = "cpu"

    @property
    def folder(self) -> Path:
        return cache_folder() / "peers" / f"{self.peer.pinned_as}{'' if self.device == 'cpu' else f'-{self.device}'}"

    @property
    def prefix(self) -> Path:
        return self.folder / "venv"

    @property
    def python(self) -> Path:
        return self.prefix / "bin" / "python"

    @property
    def kept(self) -> Path:
        """What the peer may keep between runs."""
        return self.folder / "kept"

    @property
    def log(self) -> Path:
        """What the last process of it said."""
        return self.folder / ("last.log" if self.peer.shares is None else f"last-{self.peer.name}.log")

    def wanted(self) -> str:
        """A digest of the pins and the interpreter's version."""
        digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
        digest.update(b"" if self.device == "cpu" else self.device.encode())
        for path in (self.peer.alone, self.peer.requirements):
            digest.update(b"" if path is None else path.read_bytes())
        return digest.hexdigest()[:16]

    def version(self) -> str | None:
        """The installed version; None: not installed, only half, or of other pins."""
        try:
            stamp = json.loads((self.folder / STAMP).read_text(encoding="utf-8"))
            found = str(stamp["version"]) if stamp["wanted"] == self.wanted() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if self.python.exists() else None

    @property
    def absence(self) -> str:
        """What to say of one that is not installed, and how it would be."""
        built = "" if self.device == "cpu" else f" for {self.device}"
        return f"not installed{built}: run `{install_words([self.peer], self.device)}`"

    def make(self) -> None:
        """The folder. Raises Unavailable where there can be none."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as bad:
            where = "XDG_CACHE_HOME may name another place"
            raise Unavailable(f"{self.folder} cannot be made: {bad.strerror}. {where}.") from None

    def forget(self) -> None:
        """Take the stamp away: what is there is not whole from now on."""
        (self.folder / STAMP).unlink(missing_ok=True)

    def stamp(self, version: str) -> None:
        """Note that everything is there, in one step."""
        waiting = self.folder / f"{STAMP}.new"
        waiting.write_text(json.dumps({"version": version, "wanted": self.wanted()}) + "\n", encoding="utf-8")
        waiting.replace(self.folder / STAMP)

    def require(self, flag: str = "peer") -> str:
        """The installed version. Raises InvalidSettings saying how to install it."""
        version = self.version()
        if version is None:
            raise InvalidSettings(f"{self.peer.name} is {self.absence}.", field=flag)
        return version

    def remove(self) -> bool:
        """Delete all of it; False when there was nothing. Raises Unavailable."""
        if not self.folder.exists():
            return False
        try:
            self.forget()
            shutil.rmtree(self.folder)
        except OSError as bad:
            raise Unavailable(f"{self.peer.name} cannot be removed: {bad.strerror or bad}.") from None
        return True


def install_words(peers: Sequence[Peer], device: str = "cpu") -> str:
    """The command that installs them."""
    names = " ".join(peer.name for peer in peers)
    return f"skipjoin bench peers install {names}{'' if device == 'cpu' else f' --device {device}'}"
