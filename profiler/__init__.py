"""Makes profiles: sweeps over a live executor, the speeds of a device, published measurements; and
fits them.

The cost models and the files themselves are in cost/.
"""
