"""The folder of data that a benchmark reads, which nobody can do without.

Owns the question where it is: the flag, else the environment. It does not know what lies in it; the commands that draw published and measured figures
again call it first.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import InvalidSettings
from ..workload.source import DATA_VARIABLE


def data_folder(named: str | None, holds: str) -> Path:
    """The folder that `--data` or the environment names; `holds` says in an error what is looked for. Raises InvalidSettings."""
    folder = named or os.environ.get(DATA_VARIABLE)
    if not folder or not Path(folder).is_dir():
        what = "--data is missing" if not folder else f"--data {folder} is no folder"
        raise InvalidSettings(f"{what}; it names the folder of {holds}.", field="data")
    return Path(folder)
