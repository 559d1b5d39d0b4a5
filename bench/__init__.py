"""Measurements: load against a live server, the scheduler's own time, the job pool's commits, the demo.

Whatever is measured is measured from outside, with the SDK or over HTTP, or with the clock of a thread; nothing here decides a plan,
but that `step` has the executor repeat one. The command line calls it.
"""
