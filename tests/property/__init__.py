"""Random event streams over a shadow memory."""
