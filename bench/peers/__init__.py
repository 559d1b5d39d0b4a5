"""Other engines and servers to be measured beside ours: `skipjoin bench peers install|list|remove NAME...`.

Owns who they are, how each is installed in a virtual environment of its own, how it is spoken to and how it is ended; no other folder names one. It
measures nothing: `bench/offline` and `bench/peer_live` do, with what stands here.
"""
