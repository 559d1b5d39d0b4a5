"""The kernel sizes that a user measured on this machine: where they lie, and their use.

Owns the place (XDG) and the words for a file that is not as it must be. It does not know what sizes
mean; `kernels/compiled` does. The executor asks at its start, `skipjoin bench kernels --tune`
writes there.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import InvalidSettings


def sizes_folder() -> Path:
    """Where `bench kernels --tune` writes unless told otherwise, and where every start looks."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "skipjoin" / "kernel-sizes"


def use_own_sizes(folder: Path | None = None) -> list[str]:
    """Prefer what the .toml files of the folder (None: `sizes_folder()`) say; gives the devices
    they are for, none where there is no such folder.

    Raises InvalidSettings naming file and key.
    """
    from ..kernels.compiled.size_file import BadSizes, parse_sizes
    from ..kernels.compiled.tuning import use_sizes

    place = sizes_folder() if folder is None else folder
    devices = []
    for path in sorted(place.glob("*.toml")) if place.is_dir() else ():
        try:
            table = parse_sizes(path.read_bytes(), path.name)
        except OSError as bad:
            raise InvalidSettings(
                f"The kernel sizes {path.name} cannot be read: {bad.strerror}.", field="kernel-sizes"
            ) from None
        except BadSizes as bad:
            raise InvalidSettings(
                f"Kernel sizes: {bad}. Mend or remove the file, or measure anew with skipjoin bench kernels --tune.",
                field=bad.key,
            ) from None
        use_sizes(table)
        devices.append(table.device)
    return devices
