"""What is asked of a server or of the simulator, and how the answers are summed up.

Owns traces, length shapes, arrivals, the workload made of them and the result statistics. Pure: it
imports core only and knows neither engine nor wire, so that `skipjoin simulate` and `skipjoin bench
run` speak of the same jobs and the same numbers.
"""
