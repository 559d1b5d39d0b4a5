"""Weights: from the tensors of a folder, or drawn at random, to a model that can run."""
