"""Where both processes of a server log to, and how a line looks.

Owns that one format. It decides no level of a message. The door's command and the engine process call it first.
"""

from __future__ import annotations

import logging
import sys


def log_to_stderr() -> None:
    """Everything of ours from INFO on, to standard error."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
