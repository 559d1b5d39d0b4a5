"""`skipjoin bench kernels`: each kernel beside its reference, beside torch's own attention and beside what the device could do at most.

Owns shapes, contests, timing, the table and the search for kernel sizes. It knows no scheduler and no server. bench/command calls its command.
"""
