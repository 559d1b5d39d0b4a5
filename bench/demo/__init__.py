"""`skipjoin bench demo`: the same jobs through a real server under each policy, beside the simulator."""
