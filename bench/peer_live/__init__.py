"""`skipjoin bench live`: a peer's server and ours behind their HTTP doors, one after the other, with the same requests.

Owns the scenarios, the order of visits, what is kept of them and the ratios. It knows no peer by name: bench/peers starts whoever was asked for.
"""
