"""`skipjoin bench recovery`: how soon a server is ready, and how soon tokens come again after its engine was killed."""
