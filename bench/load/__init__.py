"""`skipjoin bench run`: load on a server, and the parts that other benchmarks drive theirs with."""
