"""The torch half of the KV store: pools that hold pages, and the mover that copies them. Knows no
job and no policy.
"""
