"""Where the KV of every job is, and where it goes next."""
