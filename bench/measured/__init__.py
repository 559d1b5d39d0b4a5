"""Runs of another server that somebody measured, replayed in virtual time: how true the cost models and `fcfs` are to a real GPU.

`runs` reads what was measured, `replay` serves the same requests by a cost model, `refit` learns coefficients from the first half of a run, `pairs`
says which files belong together, `command` shows it.
"""
