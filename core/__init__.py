"""The words of skipjoin: ids, jobs, plans, outcomes, events, effects, ports, clock, errors.

Everything here is a frozen value or a Protocol. It knows no policy, no page table, no torch, no
gRPC and no clock but the one in `core/clock.py`; every other package imports it and it imports
none.
"""
