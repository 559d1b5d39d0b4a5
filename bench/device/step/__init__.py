"""`skipjoin bench step`: whole iterations of the real executor beside the least time they could
take.

`stage` is what all cases share, `deck` the jobs that they decode. `cases` measures each, `row` is a
line of the table, `work` the least that an iteration must do.
"""
