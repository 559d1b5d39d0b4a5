"""A model on a device: reads a model folder, carries out plans, samples.

Imports nothing here, so that the door can take the tokenizer without loading torch.
"""
