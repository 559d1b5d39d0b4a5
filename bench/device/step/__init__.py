"""`skipjoin bench step`: whole iterations of the real executor beside the least time they could
take.

`stage` is what all cases share. `decode` (with prefills), `moves` and `idle` measure a case each,
`study` all of a scenario. `row` is a line of the table, `work` the least that an iteration must do.
"""
