"""`skipjoin bench turn`: the engine's own time, by the CPU clock of its thread.

`turns` are turns without a model, `engine` whole iterations beside one, `pace` whole simulated
runs. All are `timing`s in units of the yardstick.
"""
