"""Every picture of `bench`: matplotlib, the extra `plot`, draws it, and SVG text comes out.

`sheet` is a picture of charts side by side, `lines` and `bars` are the two forms that rooms share,
`looks` the colours of policies. What a report alone draws stands in `report/charts`.
"""
