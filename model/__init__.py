"""A model: what its folder says, its families, parts, weights and text.

Imports no torch here, so that the door can take the tokenizer alone; but says, before anything of
this package imports it, how long its worker threads may spin. With its default, an operation on two
threads whose second core is busy with another process takes 1 to 15 ms instead of 0.2 ms (measured,
medians); with a bounded spin 1 to 2 ms, and on a quiet machine nothing is lost. A value set by the
user stays.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
