"""Layers on images and what stands between them: first channels, pixel-unshuffle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lipexp.theory.gaussian import check_sizes


@dataclass(frozen=True)
class ImageLayer:
    """A convolution of stride 1 with same padding on images of side x side pixels."""

    in_channels: int
    out_channels: int
    kernel_size: int
    side: int


def check_layers(layers: Sequence[ImageLayer], residual: bool) -> None:
    if not layers:
        raise ValueError("layers must hold at least 1 layer. Got 0 instead.")
    for layer in layers:
        check_sizes(**vars(layer))
        if residual and layer.in_channels != layer.out_channels:
            raise ValueError(f"channels of residual blocks must be equal. Got {layer} instead.")
    for before, after in pairwise(layers):
        factor, rest = divmod(before.side, after.side)
        kept, odd = divmod(after.in_channels, max(factor, 1) ** 2)
        if not factor or rest or odd or kept > before.out_channels:
            raise ValueError(
                f"layers must follow by keeping first channels and pixel-unshuffle. "
                f"Got {before}, then {after} instead."
            )


def enter(moments: np.ndarray, before: ImageLayer, after: ImageLayer) -> np.ndarray:
    """The first channels of a map (channels or 1, side, side), then pixel-unshuffle."""
    factor = before.side // after.side
    kept = moments[: after.in_channels // factor**2] if len(moments) > 1 else moments
    blocks = kept.reshape(len(kept), after.side, factor, after.side, factor)
    if len(moments) == 1:  # channels alike: the mean over the new ones
        return blocks.mean((2, 4))
    return blocks.transpose(0, 2, 4, 1, 3).reshape(-1, after.side, after.side)


def leave(moments: np.ndarray, before: ImageLayer, after: ImageLayer) -> np.ndarray:
    """The way back of a cotangent's map: dropped channels get nothing."""
    factor = before.side // after.side
    kept = after.in_channels // factor**2
    if len(moments) == 1:
        wide = moments.repeat(factor, axis=1).repeat(factor, axis=2)
        return wide * (kept / before.out_channels)
    blocks = moments.reshape(kept, factor, factor, after.side, after.side)
    back = np.zeros((before.out_channels, before.side, before.side))
    back[:kept] = blocks.transpose(0, 3, 1, 4, 2).reshape(kept, before.side, before.side)
    return back
