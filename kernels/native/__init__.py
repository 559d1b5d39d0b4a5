"""What a CPU computes between its matrix products, compiled from C at start where there is a
compiler; each with its plain-torch reference one folder up, which runs where there is none.
"""
