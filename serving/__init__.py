"""The live server: the door and engine processes and what joins them.

Owns settings, wiring, supervisor, journal, streams, intake and the servicers. It decides nothing
about scheduling or memory: engine/ does, in a process of its own. `skipjoin serve` starts it;
`serving/llm.py` is the in-process form.
"""
