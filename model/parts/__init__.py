"""Parts that decoders are made of: the rotary embedding and the windows of layers."""
