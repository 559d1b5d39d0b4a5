"""Policies by hand, and against slow models under random events."""
