"""Figures of others drawn again in the simulator: `bench fidelity`, `bench published`.

`reading` reads what others measured; `replay` and `redraw` simulate it.
"""
