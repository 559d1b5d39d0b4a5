"""Figures of others drawn again in the simulator: `bench fidelity`, `bench published`.

`measured_run` and `curves` read what others measured; `replay`, `refit` and `redraw` simulate it.
"""
