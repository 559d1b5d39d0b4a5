"""The durable job pool: every accepted job, its state and its token log.

Each implementation of the `JobPool` port has a file of its own; `registry.open_pool` chooses one by
name. Serving is the only caller; nothing here knows the wire, the engine or a model.
"""
