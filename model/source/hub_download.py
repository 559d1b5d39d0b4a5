"""The files of one model repository, from the Hugging Face hub into its cache: what runs in the
process that `model/source/hub.py` starts.

Owns the requests to the hub, which files of a repository are needed, resuming, and the check of
what came. It writes the cache that every other program of the hub uses, in its layout. It shows
nothing: each line on standard output is one JSON object for the parent, and the last one is the
folder or the error. A process of its own, because a hub can hang a request in more ways than a
library can time out, and a process can be killed. `python -m skipjoin.model.source.hub_download
REPO [REVISION]` runs it.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from ...core.clock import Clock, MonotonicClock, sleep_s
from ...core.errors import (
    Denied,
    InvalidModel,
    NotFound,
    PermissionDenied,
    SkipjoinError,
    Unauthenticated,
    Unavailable,
)

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
REQUEST_S = 10.0
"""A request that brings no byte for so long is made again."""
TRIES = 5
"""Requests in a row that bring nothing new before a file is given up."""
WORKERS = 4
_PR_SET_PDEATHSIG = 1
_TELL_NS = 100_000_000
MAX_INDEX_BYTES = 64 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ETAG = re.compile(r"\w[\w.\-]{0,127}", re.ASCII)
_PLAIN_NAME = re.compile(r"\w[\w.\-]*", re.ASCII)
_NEEDED = re.compile(r".*(?<!\.bin\.index)\.json|.*\.jinja|tokenizer\.model")

Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of the repository: its size, and `etag`, the hash that names it in the cache."""

    name: str
    size: int
    etag: str


class Progress:
    """Bytes that are here, told to the parent ten times a second; files are read by several
    threads.
    """

    def __init__(self, say: Say, clock: Clock) -> None:
        self._say, self._clock, self._lock = say, clock, Lock()
        self._done = self._told_ns = 0

    def add(self, count: int) -> None:
        """`count` more bytes are here; negative where some were of no use."""
        with self._lock:
            self._done += count
            if self._clock.now_ns() - self._told_ns > _TELL_NS:
                self._tell()

    def tell(self) -> None:
        """Say it now."""
        with self._lock:
            self._tell()

    def _tell(self) -> None:
        self._told_ns = self._clock.now_ns()
        self._say({"done": self._done})


class Cache:
    """One repository's part of the hub's cache: blobs by their hash, snapshots by commit, refs by
    branch or tag.
    """

    def __init__(self, root: Path, repo: str) -> None:
        self.home = root / ("models--" + repo.replace("/", "--"))

    def snapshot(self, commit: str) -> Path:
        """The folder of a commit, there or not."""
        return self.home / "snapshots" / commit

    def commit_of(self, revision: str) -> str | None:
        """The commit that a branch or tag had when it was last looked up; None where it never was."""
        if _COMMIT.fullmatch(revision):
            return revision
        try:
            found = (self.home / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        return found if _COMMIT.fullmatch(found) else None

    def keep_ref(self, revision: str, commit: str) -> None:
        """Note what a branch or tag is now, for a start without the hub."""
        if revision == commit:
            return
        ref = self.home / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        partial = ref.with_name(f"{ref.name}.{os.getpid()}")
        partial.write_text(commit, encoding="ascii")
        partial.replace(ref)

    def keep_list(self, commit: str, names: Sequence[str]) -> None:
        """Note what a whole copy of the commit has. Not among the refs, where each file is a branch
        or tag for the hub's own library.
        """
        path = self._list(commit)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        partial.write_text(json.dumps(sorted(names)), encoding="utf-8")
        partial.replace(path)

    def listed(self, commit: str) -> list[str] | None:
        """The names that `keep_list` noted; None where there are none: another program made the
        copy.
        """
        try:
            names = json.loads(self._list(commit).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        plain = isinstance(names, list) and all(isinstance(name, str) and _PLAIN_NAME.fullmatch(name) for name in names)
        return names if plain and names else None

    def _list(self, commit: str) -> Path:
        return self.home / ".skipjoin" / f"{commit}.json"

    def whole(self, commit: str) -> bool:
        """Whether all that a model needs is in the folder of the commit: by the list, and without
        one as far as can be seen.
        """
        folder = self.snapshot(commit)
        try:
            names = self.listed(commit) or [
                "config.json",
                "tokenizer.json",
                *weights_named(folder, [path.name for path in folder.iterdir()]),
            ]
            return all((folder / name).is_file() for name in names)
        except (OSError, InvalidModel):
            return False


def weights_named(folder: Path, names: Sequence[str]) -> list[str]:
    """The weight files of a repository whose small files are in `folder`. Raises InvalidModel where
    there are none of ours.
    """
    if SINGLE in names:  # before an index, as the folder is read
        return [SINGLE]
    if INDEX in names:
        try:
            if (folder / INDEX).stat().st_size > MAX_INDEX_BYTES:
                raise ValueError("too large")
            shards = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InvalidModel(f"{INDEX} of the repository cannot be read.", field=INDEX) from None
        if not all(isinstance(name, str) and _PLAIN_NAME.fullmatch(name) for name in shards):
            raise InvalidModel(f"{INDEX} of the repository names what is no file of it.", field=INDEX)
        return [name for name in shards if name.endswith(".safetensors")]
    raise InvalidModel(
        f"The repository has no weights in safetensors ({SINGLE} or {INDEX}). Choose one that has, or convert it.",
        field="model",
        limit="safetensors only",
    )


def download(repo: str, revision: str | None, say: Say) -> Path:
    """The folder with one commit of a repository, whole. Raises SkipjoinError."""
    # All that is used, before the first request.
    from huggingface_hub import HfApi, constants, errors, get_session  # noqa: F401

    say({"begun": True})
    cache, wanted = Cache(Path(constants.HF_HUB_CACHE), repo), revision or constants.DEFAULT_REVISION
    if constants.HF_HUB_OFFLINE:
        return _cached(cache, wanted, say) or _refuse_offline(repo)
    try:
        commit, files = _asked(repo, wanted)
    except (Unavailable, Denied, NotFound) as error:
        if error.field == "revision" or (kept := _cached(cache, wanted, say, error.message)) is None:
            raise
        return kept
    say({"commit": commit})
    _fetch(repo, commit, files, cache, say)
    cache.keep_ref(wanted, commit)
    return cache.snapshot(commit)


def _cached(cache: Cache, revision: str, say: Say, why: str = "") -> Path | None:
    """The folder of what the cache holds of the revision, whole; None where it does not. `why` the
    hub was not asked.
    """
    known = cache.commit_of(revision)
    if known is None or not cache.whole(known):
        return None
    say({"kept": why, "commit": known, "listed": cache.listed(known) is not None})
    return cache.snapshot(known)


def _refuse_offline(repo: str) -> Path:
    raise Unavailable(
        f"{repo} is not in the cache, or not whole, and HF_HUB_OFFLINE forbids to ask the hub."
        " Unset it once to download the model, or give a folder."
    )


def _asked(repo: str, revision: str) -> tuple[str, dict[str, HubFile]]:
    """What the hub says of the revision: its commit, and the files of its top folder that a model
    may need. Raises SkipjoinError.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="skipjoin")
    with _said_plainly(repo, revision):
        info = api.model_info(repo, revision=revision, files_metadata=True, timeout=REQUEST_S)
    commit = info.sha
    if commit is None or not _COMMIT.fullmatch(commit):
        raise Unavailable(f"The hub does not say which commit {revision} of {repo} is. Is HF_ENDPOINT a model hub?")
    told = [
        (one.rfilename, one.size, one.lfs.sha256 if one.lfs is not None else one.blob_id) for one in info.siblings or ()
    ]
    if not told:  # a mirror that lists files elsewhere only
        with _said_plainly(repo, revision):
            told = [(one.path, None, None) for one in api.list_repo_tree(repo, revision=commit)]
    files = {}
    for name, size, etag in told:
        if not _PLAIN_NAME.fullmatch(name) or not (_NEEDED.fullmatch(name) or name.endswith(".safetensors")):
            continue
        if size is None or etag is None:
            files[name] = _file_of(repo, commit, name)
        elif _ETAG.fullmatch(etag):
            files[name] = HubFile(name, size, etag)
    return commit, files


def _file_of(repo: str, commit: str, name: str) -> HubFile:
    """A file of a mirror whose list tells names alone. Raises SkipjoinError."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    with _said_plainly(repo, commit):
        told = get_hf_file_metadata(hf_hub_url(repo, name, revision=commit), timeout=REQUEST_S)
    if told.size is None or told.etag is None or not _ETAG.fullmatch(told.etag):
        raise Unavailable(f"The hub does not say what {name} of {repo} is. Is HF_ENDPOINT a model hub?")
    return HubFile(name, told.size, told.etag)


def _fetch(repo: str, commit: str, files: dict[str, HubFile], cache: Cache, say: Say) -> None:
    """Everything needed, the small files first: one of them says which weights there are."""
    progress, folder = Progress(say, MonotonicClock()), cache.snapshot(commit)
    small = [file for name, file in files.items() if _NEEDED.fullmatch(name)]
    if "config.json" not in files:
        raise InvalidModel(f"{repo} is no model repository: it has no config.json.", field="model")
    say({"files": len(small), "bytes": sum(file.size for file in small)})
    _all(repo, commit, small, cache, progress)
    names = weights_named(folder, list(files))
    if lost := [name for name in names if name not in files]:
        raise InvalidModel(f"{INDEX} names {lost[0]}, which the repository does not have.", field=INDEX)
    wanted = small + [files[name] for name in names]
    total = sum(file.size for file in wanted)
    say({"files": len(wanted), "bytes": total})
    left = sum(files[name].size for name in names if not (folder / name).is_file())
    free = shutil.disk_usage(cache.home).free
    if left > free:
        raise InvalidModel(
            f"{repo} needs {left / 1e9:.1f} GB more on the disk of the hub's cache, and {free / 1e9:.1f} GB are free."
            " Make room, or set HF_HOME to a folder elsewhere.",
            field="model",
        )
    _all(repo, commit, [files[name] for name in names], cache, progress)
    cache.keep_list(commit, [file.name for file in wanted])


def _all(repo: str, commit: str, files: Sequence[HubFile], cache: Cache, progress: Progress) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        tasks = [pool.submit(_one, repo, commit, file, cache, progress) for file in files]
        done, waiting = wait(tasks, return_when=FIRST_EXCEPTION)
        for task in waiting:
            task.cancel()
        for task in done:
            task.result()
    progress.tell()


def _one(repo: str, commit: str, file: HubFile, cache: Cache, progress: Progress) -> None:
    """One file, from the cache or from the hub, checked before it has its name."""
    blob = cache.home / "blobs" / file.etag
    link = cache.snapshot(commit) / file.name
    if not (blob.is_file() and blob.stat().st_size == file.size):
        blob.parent.mkdir(parents=True, exist_ok=True)
        _to_blob(repo, commit, file, blob, progress)
    else:
        progress.add(file.size)
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_file():
        partial = link.with_name(f"{link.name}.{os.getpid()}.link")
        partial.symlink_to(Path("..", "..", "blobs", file.etag))
        partial.replace(link)


def _to_blob(repo: str, commit: str, file: HubFile, blob: Path, progress: Progress) -> None:
    """Download into a partial file beside the blob, going on where an earlier try ended; another
    process that is at it is waited for.
    """
    part = blob.with_name(f"{blob.name}.skipjoin.incomplete")
    with part.open("ab") as out:
        _lock(out, progress)
        if blob.is_file() and blob.stat().st_size == file.size:  # by the process that was waited for
            progress.add(file.size)
            return
        _stream(repo, commit, file, out, progress)
        out.flush()
        if not _is(part, file.etag):
            part.unlink()
            raise InvalidModel(
                f"{file.name} of {repo} came with another content than the hub says (hash of {file.size} bytes)."
                " It was deleted; run the command again.",
                field=file.name,
            )
        part.replace(blob)


def _lock(out: BinaryIO, progress: Progress) -> None:
    """The partial file for this process alone."""
    waited = 0
    while True:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            size = os.fstat(out.fileno()).st_size
            progress.add(size - waited)  # what the other process brings is progress too
            waited = size
            sleep_s(0.2)
        else:
            progress.add(-waited)
            return


def _stream(repo: str, commit: str, file: HubFile, out: BinaryIO, progress: Progress) -> None:
    """All bytes of the file, over as many requests as bring something new. Raises SkipjoinError."""
    here = out.seek(0, os.SEEK_END)
    if here > file.size:
        out.truncate(0)
        here = out.seek(0)
    progress.add(here)
    most, tries = here, 0
    while here < file.size:
        try:
            with _said_plainly(repo, commit):
                for chunk, at in _chunks(repo, commit, file, here):
                    if at != here:  # the hub began anew
                        out.truncate(at)
                        progress.add(at - here)
                        here = out.seek(at)
                    if here + len(chunk) > file.size:
                        out.truncate(0)
                        raise InvalidModel(
                            f"{file.name} of {repo} is longer than the {file.size} bytes that the hub says."
                            " It was deleted; run the command again.",
                            field=file.name,
                        )
                    out.write(chunk)
                    progress.add(len(chunk))
                    here += len(chunk)
            failure = Unavailable(f"The hub sent {here} of the {file.size} bytes of {file.name}.")
        except Unavailable as error:
            failure = error
        tries = 0 if here > most else tries + 1
        most = max(most, here)
        if here < file.size and tries >= TRIES:
            raise Unavailable(
                f"{failure.message} What came of {file.name} is kept ({most} of {file.size} bytes); run the "
                "command again to go on."
            )
        if tries:
            sleep_s(0.25 * 2 ** (tries - 1))


def _chunks(repo: str, commit: str, file: HubFile, start: int) -> Iterator[tuple[bytes, int]]:
    """The file's bytes from `start` on with the place of each; from 0 on where the hub cannot begin
    in the middle.
    """
    from huggingface_hub import constants, get_session, get_token, hf_hub_url, hf_raise_for_status

    headers = {"User-Agent": "skipjoin", "Accept-Encoding": "identity"}
    if (token := get_token()) and not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        headers["Authorization"] = f"Bearer {token}"
    if start:
        headers["Range"] = f"bytes={start}-"
    url = hf_hub_url(repo, file.name, revision=commit)
    # The session follows a redirect to another host without the token.
    with get_session().stream("GET", url, headers=headers, timeout=REQUEST_S, follow_redirects=True) as answer:
        if answer.status_code == 416:
            raise Unavailable(f"The hub has fewer bytes of {file.name} than it says.")
        hf_raise_for_status(answer)
        at = start if answer.status_code == 206 else 0
        plain = answer.headers.get("Content-Encoding", "identity") == "identity"  # asked for; a proxy may do otherwise
        for chunk in answer.iter_raw() if plain else answer.iter_bytes():
            yield chunk, at
            at += len(chunk)


def _is(part: Path, etag: str) -> bool:
    """Whether the content is what its name says: SHA-256 of a large file, git's SHA-1 of a small
    one (mirrors: plain SHA-1, or no hash).
    """
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", etag):
        return True
    with part.open("rb") as file:
        if len(etag) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest() == etag
        data = file.read()
    plain = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    as_git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return etag in (plain, as_git)


class _said_plainly:  # noqa: N801  a context manager, read as a phrase
    """What the hub's library raises, as an error of ours that says what to do. No address and no
    token stands in one.
    """

    def __init__(self, repo: str, revision: str) -> None:
        self._repo, self._revision = repo, revision

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, SkipjoinError) or not isinstance(error, Exception):
            return
        raise self._plain(error) from error

    def _plain(self, error: Exception) -> SkipjoinError:
        from huggingface_hub import errors

        repo = self._repo
        status = getattr(getattr(error, "response", None), "status_code", None)
        token = "Set HF_TOKEN to a token that may read it"
        if isinstance(error, errors.GatedRepoError):
            return PermissionDenied(
                f"{repo} is gated: accept its terms on its page on the hub. {token}.", field="model"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return NotFound(f"{repo} has no revision {self._revision} on the hub.", field="revision")
        if isinstance(error, errors.RepositoryNotFoundError):
            return NotFound(
                f"The hub has no model {repo}, or it is private. Look at the id; for a private one: {token}.",
                field="model",
            )
        if status == 401:
            return Unauthenticated(f"The hub refuses the token for {repo}. {token}, or unset it.", field="model")
        if isinstance(error, errors.HFValidationError):
            return InvalidModel(f"{repo} is no id of a model on the hub (org/name).", field="model")
        if status == 403:
            return PermissionDenied(f"The hub does not let you read {repo}. {token}.", field="model")
        if isinstance(error, OSError) and error.errno is not None and status is None:
            return InvalidModel(f"The hub's cache cannot be written: {error.strerror}. HF_HOME names another folder.")
        if status == 404:
            return NotFound(
                f"The hub answers 404 for {repo}: it has no such model or file. Look at the id, and whether "
                "HF_ENDPOINT is a model hub.",
                field="model",
            )
        if status is not None:
            return Unavailable(f"The hub answered {status} for {repo}. Try again later.")
        kind = type(error).__name__  # of the hub's HTTP library, which has changed its name
        what = "cannot be reached" if "Connect" in kind else "does not answer" if "Timeout" in kind else "broke off"
        return Unavailable(f"The hub {what} ({repo}). Look at the network, proxies and HF_ENDPOINT, or give a folder.")


def main(argv: Sequence[str]) -> int:
    """Download `REPO [REVISION]` and say how it goes; 0 also where the last line is an error."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # without a parent that reads there is nothing to do
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nor where it was killed meanwhile

    def say(line: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    try:
        with _said_plainly(argv[0], argv[1] if len(argv) > 1 else "main"):
            folder = download(argv[0], argv[1] if len(argv) > 1 else None, say)
        say({"folder": str(folder)})
    except SkipjoinError as error:
        say({"error": error.code, "message": error.message, "field": error.field, "limit": error.limit})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
