"""A model on a device: carries out plans, samples.

Importing `model` first bounds how long torch's worker threads spin, before anything here imports
torch.
"""

from .. import model as model
