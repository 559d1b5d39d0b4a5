"""`skipjoin bench turn`: the engine's own time, by the CPU clock of its thread.

`turns` are turns without a model, `engine` whole iterations beside one; `run` has whole simulated
runs as well. All are `Timing`s in units of the yardstick.
"""
