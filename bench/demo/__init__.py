"""`skipjoin bench demo`: the same jobs under each policy, served and simulated."""
