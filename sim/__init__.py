"""The simulator: executors that ask a cost model instead of a device, and a world in virtual time
around the engine's own turn.

Owns no policy and no planning: everything that decides is engine/, the same code that serves.
`skipjoin simulate` and `serve --executor simulated` use it.
"""
