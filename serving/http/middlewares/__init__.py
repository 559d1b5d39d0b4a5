"""What happens to every HTTP request around its call: a noun each, in the order that `door.py`
lists.
"""
