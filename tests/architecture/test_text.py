"""No file of the repository names a place on somebody's machine.

Reads every tracked text file; outside a checkout of git (an unpacked archive) it reads the
product's files.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from source_tree import product_files

# Absolute paths below folders that are somebody's own; `https://host/home/` and `a/tmp/b` are not
# such paths.
PRIVATE = re.compile(r"(?<![\w./~-])/(?:home|root|Users|tmp|work|farm|mnt)/[\w.-]+")


def private_paths(text: str) -> list[str]:
    """Every absolute path in `text` that only exists on one machine."""
    return PRIVATE.findall(text)


def _tracked(checkout: Path) -> list[Path]:
    if (checkout / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=checkout, capture_output=True, text=True, check=True, timeout=60
        )
        return [Path(name) for name in listed.stdout.split("\0") if name]
    return list(product_files(checkout))


def test_no_private_paths(checkout: Path) -> None:
    offences = []
    read = 0
    for path in _tracked(checkout):
        try:
            text = (checkout / path).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        read += 1
        offences += [
            f"{path}:{number}: {found[0]}"
            for number, line in enumerate(text.splitlines(), 1)
            if (found := private_paths(line))
        ]
    assert read > 10
    if offences:
        pytest.fail("\n".join(offences), pytrace=False)


@pytest.mark.parametrize("folder", ["home", "root", "Users", "tmp", "work"])
def test_private_path_is_seen(folder: str) -> None:
    assert private_paths(f'open("/{folder}/ann/model")')
    assert not private_paths(f"https://host.example/{folder}/ann and a/{folder}/b")
