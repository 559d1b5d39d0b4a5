"""Makes the checked-in Python of the wire messages from `proto/*.proto`.

Owns the protoc command line: messages, services, and typed stubs of both (mypy-protobuf). It knows
no message. `make proto` runs it and tests/proto compares what it would write with what is checked
in.
"""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("job_pool", "admin", "engine", "ranks")
SERVICES = ("job_pool", "admin")


def generate(out: Path) -> dict[str, str]:
    """Write the generated files below `out`; answers file name -> text. Raises SystemExit with
    protoc's status.
    """
    from importlib import resources

    from grpc_tools import protoc

    google = str(resources.files("grpc_tools") / "_proto")
    scripts = sysconfig.get_path("scripts")
    os.environ["PATH"] = os.pathsep.join([scripts, str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    include = [f"-Iskipjoin/proto={ROOT / 'proto'}", f"-I{google}"]
    messages = [f"skipjoin/proto/{name}.proto" for name in SOURCES]
    services = [f"skipjoin/proto/{name}.proto" for name in SERVICES]
    runs = [
        ["protoc", *include, f"--python_out={out}", f"--mypy_out=quiet:{out}", *messages],
        ["protoc", *include, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services],
    ]
    for run in runs:
        if status := protoc.main(run):
            raise SystemExit(status)
    return {path.name: path.read_text() for path in sorted((out / "skipjoin" / "proto").iterdir())}


def main() -> int:
    """Regenerate in place, or with --check say which files differ (exit status 1)."""
    parser = argparse.ArgumentParser(description="Make the Python of the wire messages from proto/*.proto.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a checked-in file differs")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
    stale = [
        n for n, text in made.items() if not (ROOT / "proto" / n).exists() or (ROOT / "proto" / n).read_text() != text
    ]
    if check:
        for name in stale:
            print(f"proto/{name} is not what protoc makes: run `make proto`.", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (ROOT / "proto" / name).write_text(made[name])
    print(f"{len(made)} files, {len(stale)} changed", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
