"""Who deserves to run: policies as pure state machines over events and ticks.

Nothing here has heard of a page, a tensor or a clock. engine/state feeds events to one policy made
by `registry`, the planner asks it questions; the contract is `Policy` in core/policy.py.
"""
