"""The HTTP door: connections, bodies, OpenAI's calls."""
