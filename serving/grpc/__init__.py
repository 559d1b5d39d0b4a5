"""The gRPC doors: the public calls and the operator's."""
