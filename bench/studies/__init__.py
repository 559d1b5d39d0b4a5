"""Figures of others drawn again in the simulator: measured runs (`bench fidelity`), curves (`bench published`).

`measured_run` and `curves` read what others measured; `replay`, `refit` and `redraw` simulate it.
"""
