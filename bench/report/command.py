"""`skipjoin bench report`: its flags and the files it writes; exit code 0 when they are written."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...console.output_file import write
from ...core.errors import InvalidInput
from ..charts.sheet import matplotlib
from ..matrix.store import FILE, read_results
from .page import page, tables


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench report`."""
    parser.add_argument("folder", metavar="DIR", help="what bench matrix wrote")
    parser.add_argument("--out", required=True, metavar="FILE", help="the page (HTML, nothing else needed)")
    parser.add_argument("--markdown", metavar="FILE", help="the tables in Markdown as well")


def run(args: argparse.Namespace) -> int:
    """Write the page. Raises SkipjoinError."""
    matplotlib()
    lines = read_results(Path(args.folder))
    if not any(line["kind"] == "run" for line in lines):
        raise InvalidInput(f"{FILE} in {Path(args.folder).name} holds no run yet.", field="DIR")
    write(args.out, page(lines), "out")
    if args.markdown is not None:
        write(args.markdown, tables(lines), "markdown")
    return 0
