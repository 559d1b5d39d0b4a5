"""What one device, and one thread of the engine, can do: no server, no door.

`kernels`, `step`, `turn`, `pool` and `against` are commands of `bench` by these names. `race` times
contestants in turn, `roofline` says what the device could do at most, `setting` what the commands
of a device have in common.
"""
