"""Models whose attention has another shape than their folder says."""

from __future__ import annotations

import dataclasses


def attending_as(model, windows, softcap):
    """`model` with a window (None: none) for each layer, and that cap on the scores of all."""
    layers = []
    for layer, window in zip(model.parts.layers, windows, strict=True):
        shape = dataclasses.replace(layer.attention.shape, window=window, softcap=softcap)
        layers.append(dataclasses.replace(layer, attention=dataclasses.replace(layer.attention, shape=shape)))
    return dataclasses.replace(model, parts=dataclasses.replace(model.parts, layers=tuple(layers)))
