"""Fixtures shared with the tests of other folders that make small models."""

from model_fixtures import quiet_transformers, tiny64, tiny_folder

__all__ = ["quiet_transformers", "tiny64", "tiny_folder"]
