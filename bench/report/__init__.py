"""`skipjoin bench report`: the results of a matrix as one page that needs nothing else, and as a
table in Markdown.

Owns charts, colours and words. It reads what `bench.matrix` wrote and computes no ratio itself.
"""
