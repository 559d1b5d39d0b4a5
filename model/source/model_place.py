"""Where a model is: the folder for what a person typed, and the names by which clients may call it.

Owns the decision between a folder and an id of the hub, and the names that follow from either. It
reads no file of a model; hub.py downloads. Every command that takes a model asks here, `LLM` and
the server too.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from ...core.clock import Clock, MonotonicClock
from ...core.errors import InvalidModel, NotFound, SkipjoinError, Unavailable
from .hub import STALL_S, fetch, hub_id, is_address

_SNAPSHOT = re.compile(r"models--(?P<id>.+)/snapshots/[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """A folder that is there, the names of the model in it, and the hub's commit if it came from
    there.
    """

    folder: Path
    names: tuple[str, ...]
    commit: str | None = None


def names_of(folder: Path) -> tuple[str, ...]:
    """What clients call the model in `folder`, the usual name first: the folder's name, or
    `org/name` and `name` of a snapshot of the hub.
    """
    whole = folder.resolve()
    found = _SNAPSHOT.fullmatch("/".join(whole.parts[-3:]))
    if found is None:
        return (whole.name or "model",)
    repo = found["id"].replace("--", "/")
    return tuple(dict.fromkeys((repo, repo.rpartition("/")[2])))


def find_model(
    asked: str, revision: str | None = None, *, stall_s: float = STALL_S, clock: Clock | None = None
) -> ModelPlace:
    """The folder of the model that `asked` is, a folder or an id of the hub, whose `revision`
    (default: main) is downloaded where it is not cached.

    Raises InvalidModel where neither is there, InvalidInput for a page of another revision, and for
    an id what `hub.fetch` raises.
    """
    if not asked:
        raise InvalidModel("The model is empty; give a folder or an id of the hub (org/name).", field="model")
    folder = Path(asked).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise InvalidModel(
                f"{asked} is a folder, and only a model of the hub has revisions. Leave --revision out.",
                field="revision",
            )
        return ModelPlace(folder, names_of(folder))
    repo = hub_id(asked)
    if repo is None or folder.exists():
        raise InvalidModel(_missing(asked, is_file=folder.exists()), field="model")
    try:
        at, commit = fetch(repo, revision, clock or MonotonicClock(), stall_s)
    except (NotFound, Unavailable) as error:
        raise _with_folder(error, asked) from error
    return ModelPlace(at, names_of(at), commit)


def _missing(text: str, *, is_file: bool) -> str:
    if is_file:
        return f"{text} is a file; a model is a folder in Hugging Face layout, or an id of the hub (org/name)."
    if is_address(text):
        return (
            f"{text} is not the address of a model's page (https://huggingface.co/org/name)."
            " Give one, an id of the hub (org/name), or a folder in Hugging Face layout."
        )
    return (
        f"There is no folder {text}. A model is a folder in Hugging Face layout or an id of the hub (org/name);"
        f" `skipjoin model init {shlex.quote(text)} --preset small` makes one with random weights."
    )


def _with_folder(error: SkipjoinError, text: str) -> SkipjoinError:
    """The same error, with the other thing that the person may have meant."""
    if is_address(text):
        return error
    other = (
        f" There is no folder {text} either; `skipjoin model init {shlex.quote(text)} --preset small` makes "
        "one with random weights."
    )
    return type(error)(error.message + other, field=error.field, limit=error.limit)
