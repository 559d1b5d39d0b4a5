"""Parts that decoders are made of, a class each; a family's row names those that its decoder has.

Each part reads its own tensors when a model is loaded (`reader.py`) and computes with them
afterwards. What stands between two parts is in their protocols: `linear.Linear`, `norm.Norm`,
`layer.Layer`.
"""
