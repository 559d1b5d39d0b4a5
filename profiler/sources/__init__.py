"""Measurements that others published, read into profiles: a file a format, and `detect`, which
tells them apart.

Nothing here measures or fits; `profile import` and the benchmarks call `read_source`.
"""
