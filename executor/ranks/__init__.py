"""One executor in several processes, each with its part of the model: the ranks.

Rank 0 is the engine's own process. It sends every plan to the other ranks over sockets; all carry
it out on their own part of the weights and of every KV page, and meet in collectives.
"""
