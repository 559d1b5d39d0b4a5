"""The kernels as Triton compiles them for a device. Each has its plain-torch reference one folder
up; importing this needs triton.
"""
