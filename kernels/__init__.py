"""Tensors in, tensors out: the arithmetic of a decoder over paged KV.

Owns the reference in plain torch, what Triton compiles in its place (`compiled`) and the dispatch
by device. Knows no job, no plan and no file; the executor calls it.
"""
