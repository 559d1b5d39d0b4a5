"""What an iteration costs on one (model, device, parallelism): cost models, their profile files,
their slow correction.

Pure: nothing here reads a clock or imports torch. Scheduler, planner and simulator take the model
as a `CostModel`; engine/assemble, the commands and the tests load profiles; profiler/ makes them.
"""
