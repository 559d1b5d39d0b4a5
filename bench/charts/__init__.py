"""Every chart of `bench`, as SVG text.

`marks`: elements and scales. `lines`: a chart with axes. `bars`: shares as bars. `sheet`: a file
that stands alone, of charts side by side. `plane` and `timeline`: what a report alone draws.
`looks`: the colours of policies, and the style sheet. A room's `render` makes its pictures of
these.
"""
