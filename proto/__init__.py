"""The wire: protobuf messages, the frames between door and engine, and how errors travel.

Owns `*.proto`, the code generated from them, and the functions between messages and core values. It
knows no server and no client; client, serving and admin stand on it.
"""
