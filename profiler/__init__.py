"""What an iteration costs on one (model, device, parallelism): the linear cost model, its profile files, its fit and its slow correction.

Pure: nothing here reads a clock or imports torch, but `measure`, which sweeps any Executor. Scheduler, planner and simulator take the model
as a `CostModel`; engine/assemble, the commands and the tests load profiles.
"""
