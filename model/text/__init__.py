"""Between text and tokens: the tokenizer, the chat template and the process that renders it. Knows
no torch.
"""
