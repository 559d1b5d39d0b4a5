"""What one device, and one thread of the engine, can do: no server, no door.

`kernels`, `step`, `turn`, `pool` and `against` are commands of `bench` by these names. `race` times
contestants in turn and says what the device could do at most, `command` is what `kernels` and
`step` have in common.
"""
