"""Measurements. A folder is a command of `skipjoin bench`, or a room for several:

`load` (`run`), `demo`, `device` (`kernels`, `step`, `turn`, `pool`, `against`), `peers` (`peers`,
`engine`, `live`), `recovery`, `studies` (`fidelity`, `published`), `matrix`, `report`.

All rooms build on the files here: `figures` (a spread, and whether it keeps its limit), `table`,
`json_file`, `result_lines`, `machine`, `progress`, `scenario_file`, `flags`, `interrupts`,
`yardstick`; and on `charts`. Nothing here decides a plan, but that `step` has the executor repeat
one.
"""
