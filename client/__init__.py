"""The SDK of skipjoin: submit jobs, follow their tokens, cancel them.

`AsyncClient` and `Client` do the same things, one with asyncio and one without. This package imports grpc and protobuf,
never torch or numpy.
"""
