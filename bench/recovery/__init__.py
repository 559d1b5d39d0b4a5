"""`skipjoin bench recovery`: how soon tokens come again after an engine was killed."""
