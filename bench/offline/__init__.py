"""`skipjoin bench engine`: tokens a second without a server, ours beside the peers', and beside what the machine allows.

Owns the scenario, the order of the runs, the figures and their picture. It knows no peer by name: `bench/peers` gives what is installed.
"""
