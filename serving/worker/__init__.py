"""The engine process: what it is made of, its spare, its start."""
