"""`skipjoin bench recovery`: how soon a server is ready, and how soon its clients get tokens again after its engine was killed.

Owns the kills, the clients that watch, and their table. It knows the server from outside only. bench/command calls its command.
"""
