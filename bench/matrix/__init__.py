"""`skipjoin bench matrix`: the same jobs through the simulator under many policies, traces, loads
and batches.

Owns the matrix as data, its cells, their results on disk and the ratios that are drawn from them.
It knows no policy: names are data, and a name that this version does not have is left out aloud.
"""
