"""A model of the Hugging Face hub as a folder on this machine.

Owns what an id looks like and the process that downloads one (`hub_download.py`): its start, its
end, and how long it may bring nothing. It never imports the hub's library, so that a server holds
none of it. `model_place.py` calls it.
"""

from __future__ import annotations

import json
import logging
import re
import selectors
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ...core.clock import Clock
from ...core.errors import InternalError, InvalidInput, NotFound, SkipjoinError, Unavailable, by_code

log = logging.getLogger("skipjoin.model")

STALL_S = 60.0
DEFAULT_REVISION = "main"
LEAST_BYTES = 64 * 1024
"""A download that brings less than this within the stall time, with more to come, is given up: a
hub may drip.
"""
_ID = re.compile(r"(?:\w[\w.\-]{0,95}/)?\w[\w.\-]{0,95}", re.ASCII)
_REVISION = re.compile(r"\w[\w.\-/]{0,255}", re.ASCII)
_PAGE = re.compile(r"(?:https?:/+)?(?:www\.)?(?:huggingface\.co|hf\.co)/+", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.\-]*:/", re.IGNORECASE)
_AT_REVISION = re.compile(r"(?P<id>[^/]+(?:/[^/]+)?)/tree/(?P<revision>.+)")
_OTHER_PAGES = ("datasets", "spaces")
MODULE = "skipjoin.model.source.hub_download"


def hub_id(text: str) -> str | None:
    """The id (`org/name` or `name`) that `text` is, its page's address included; None where it can
    be none.

    Raises InvalidInput for the address of another revision than main.
    """
    page = _PAGE.match(text)
    if page is None:
        return _plain_id(text)
    found = re.split(r"[?#]", text[page.end() :], maxsplit=1)[0].rstrip("/")
    if found.startswith(tuple(f"{kind}/" for kind in _OTHER_PAGES)):
        return None
    at = _AT_REVISION.fullmatch(found)
    if at is None:
        return _plain_id(found)
    repo, revision = _plain_id(at["id"]), unquote(at["revision"])
    if repo is None or revision == DEFAULT_REVISION:
        return repo
    raise InvalidInput(
        f"The address names the revision {revision[:80]!r}; give {repo} and use --revision "
        f"{shlex.quote(revision[:80])}.",
        field="revision",
    )


def _plain_id(text: str) -> str | None:
    return text if _ID.fullmatch(text) and ".." not in text and "--" not in text else None


def is_address(text: str) -> bool:
    """Whether this is an address, of the hub or elsewhere, and so the name of no folder."""
    return _ADDRESS.match(text) is not None or _PAGE.match(text) is not None


def check_revision(revision: str) -> str:
    """A branch, tag or commit. Raises InvalidInput."""
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision or revision.endswith(("/", ".lock")):
        raise InvalidInput(
            f"The revision {revision[:80]!r} is no branch, tag or commit of a repository.", field="revision"
        )
    return revision


def fetch(repo: str, revision: str | None, clock: Clock, stall_s: float = STALL_S) -> tuple[Path, str]:
    """The folder with a commit of `repo`, downloaded where it is not cached, and the commit.

    `stall_s`: a hub that brings nothing new for so long is given up. Raises NotFound, Denied,
    Unavailable, InvalidModel, InvalidInput.
    """
    words = [repo] if revision is None else [repo, check_revision(revision)]
    download = _Download(repo, clock, stall_s)
    # In a session of its own: Ctrl-C is this process's, which then ends the other. -P: as the
    # engine's process.
    with subprocess.Popen(
        [sys.executable, "-P", "-m", MODULE, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            return download.follow(process)
        finally:
            process.kill()


class _Download:
    """What the process has said so far, and since when it has brought nothing."""

    def __init__(self, repo: str, clock: Clock, stall_s: float) -> None:
        from .progress import DownloadBar  # here, for every command of the server reads this module

        self._repo, self._clock, self._stall_s = repo, clock, stall_s
        self._commit = ""
        self._bar = DownloadBar(repo)
        self._total = self._done = self._mark = 0
        self._begun = False
        self._since_ns = clock.now_ns()
        self._stderr = b""

    def follow(self, process: subprocess.Popen[bytes]) -> tuple[Path, str]:
        """Read what it says until it has the folder. Raises SkipjoinError."""
        assert process.stdout is not None
        assert process.stderr is not None
        rest = b""
        with self._bar, selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(self._left_s()):
                    data = key.fileobj.read1(65536)  # type: ignore[union-attr]
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stderr:
                        self._stderr = (self._stderr + data)[-4096:]
                    else:
                        *lines, rest = (rest + data).split(b"\n")
                        for line in lines:
                            if (folder := self._heard(json.loads(line))) is not None:
                                return folder, self._commit
                self._check()
        log.error("the download of %s ended: %s", self._repo, self._stderr.decode("utf-8", "replace").strip()[-1000:])
        raise InternalError("The process that downloads the model ended without an answer; the log says what it said.")

    def _heard(self, line: dict[str, Any]) -> Path | None:
        match line:
            case {"begun": True}:
                self._begun = True
                self._moved(0)
            case {"done": int(done)}:
                self._done = done
                self._bar.at(done)
                if done - self._mark >= min(LEAST_BYTES, max(1, self._total - self._mark)):
                    self._moved(done)
            case {"bytes": int(total), "files": int(files)}:
                self._total = total
                self._moved(self._done)
                self._bar.of(total, files)
            case {"kept": str(why), "commit": str(commit), "listed": bool(listed)}:
                self._commit = commit
                if why:
                    log.warning("%s The copy in the cache is used.", why)
                log.info("%s: commit %s, from the cache", self._repo, commit)
                if not listed:
                    log.warning(
                        "%s: another program made this copy, and it may lack files, as generation_config.json or"
                        " chat_template.jinja. A start that reaches the hub adds what is missing.",
                        self._repo,
                    )
            case {"commit": str(commit)}:
                self._commit = commit
                self._moved(0)
                log.info("%s: commit %s", self._repo, commit)
            case {"folder": str(folder)}:
                return Path(folder)
            case {"error": str(code), "message": str(message)}:
                raise _error(code, message, line)
        return None

    def _moved(self, mark: int) -> None:
        self._mark, self._since_ns = max(self._mark, mark), self._clock.now_ns()

    def _left_s(self) -> float:
        # A busy machine may take its time over the imports; none of it is the hub's.
        most_s = self._stall_s if self._begun else max(self._stall_s, STALL_S)
        return max(0.0, most_s - (self._clock.now_ns() - self._since_ns) / 1e9)

    def _check(self) -> None:
        if self._left_s() > 0:
            return
        got = f"{self._done} of {self._total} bytes came" if self._total else "nothing came"
        raise Unavailable(
            f"The hub sends nothing more of {self._repo}: {got}, then nothing new for {self._stall_s:g} s "
            "(hub_stall_s)."
            " What came is kept; look at the network and HF_ENDPOINT and run the command again."
        )


def _error(code: str, message: str, line: dict[str, Any]) -> SkipjoinError:
    known = by_code().get(code, NotFound if code == NotFound.code else Unavailable)
    try:
        return known(message, field=line.get("field"), limit=line.get("limit"))
    except TypeError:
        return Unavailable(message)
