"""One turn: what happened, who runs, what came of it; the same code in the live and the simulated
world.
"""
