"""The operator's command line: look into a running server and steer it.

It speaks to the server's unix socket and to nothing else; whoever may open that socket is the
operator. It renders for people, or gives JSON for programs.
"""
