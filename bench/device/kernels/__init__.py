"""`skipjoin bench kernels`: each kernel beside its reference, torch's own and the rooflines.

`scenario` says which kernels on which shapes. `attention` and `pieces` make a
`contest` of a case, `study` checks and times it, `tune` searches for the quickest kernel sizes.
"""
