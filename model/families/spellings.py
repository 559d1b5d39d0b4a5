"""How files spell what families share."""

from __future__ import annotations

OTHERS = ("query_pre_attn_scalar", "final_logit_softcapping", "sliding_window_pattern")

WITHOUT_HEAD = (("model.", "model."), ("lm_head", "lm_head"), ("", "model."))
"""Files of a decoder that was saved without its head name tensors without the first part of the
name.
"""
