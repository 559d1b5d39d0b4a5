"""What FastServe's authors published for OPT-13B, drawn again in the simulator beside their own points.

`curves` reads the published points, `panels` says what is drawn again and how, `redraw` simulates it, `render` and `plot` show it, `command` is the
way in.
"""
