"""Lets the tests of the profiler, and whoever else inserts this folder, import `published`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # published, beside this file
