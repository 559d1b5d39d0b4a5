"""What happens to every HTTP request around its call, in the order that `door.py` lists."""
