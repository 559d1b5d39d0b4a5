"""What is timed on the machine itself: iterations of a live executor (`sweep`), and memory,
matrices and link (`device`).

`profile measure`, `profile roofline` and a server without a profile call it.
"""

from .sweep import Sweep, measure, profile_of

__all__ = ["Sweep", "measure", "profile_of"]
