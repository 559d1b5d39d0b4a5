"""`skipjoin bench step`: whole iterations of the real executor on a device, beside the least time that they could take there.

Owns decode steps, prefills, moves beside decodes and the device's idle time, with their table. It knows no server. bench/command calls its command.
"""
