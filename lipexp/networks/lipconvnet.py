"""The 1-Lipschitz ConvNet: five blocks of convolutions, halving channels and pixel-unshuffle."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.errors import UserError
from lipexp.layers import CONVOLUTIONS, LAYERS
from lipexp.layers.base import FreeWeightModule
from lipexp.layers.normalised import NormalisedLinear
from lipexp.layers.plumbing import (
    Centre,
    FirstChannels,
    FirstFeatures,
    Flatten,
    PadChannels,
    PadSides,
    PixelUnshuffle,
    SumPool,
)
from lipexp.networks.blueprint import Blueprint, Filler
from lipexp.networks.network import Network

BLOCKS = 5
SIDE = 2**BLOCKS  # after five pixel-unshuffles one pixel is left


def padded_side(height: int, width: int) -> int:
    """The side of the square that images are padded to: 32, or their own multiple of 32."""
    return max(SIDE, height, width)


def check(plan: Blueprint) -> None:
    """Raises UserError for what this network cannot be built of."""
    model, depth, width, classes = plan.model, plan.depth, plan.width, plan.classes
    if model not in CONVOLUTIONS:
        known = ", ".join(CONVOLUTIONS)
        raise UserError(f"model={model} has no convolution for network=lipconvnet; known: {known}")
    if plan.bias == "corrected":
        raise UserError("bias=corrected is known for dense layers alone, not network=lipconvnet")
    if depth % BLOCKS:
        raise UserError(f"depth={depth}: network=lipconvnet needs a multiple of {BLOCKS}")
    if width % 2:
        raise UserError(f"width={width}: network=lipconvnet needs an even number of channels")
    if len(plan.input_shape) != 3:
        raise UserError("network=lipconvnet needs images; this data set has none")
    channels, *sides = plan.input_shape
    if channels > width:
        raise UserError(f"width={width}: network=lipconvnet needs at least {channels} channels")
    if max(sides) > SIDE and any(side % SIDE for side in sides):
        raise UserError(
            f"images of {sides[0]}x{sides[1]}: network=lipconvnet pads sides up to {SIDE}; larger "
            f"ones must be multiples of {SIDE}"
        )
    if classes is not None and classes > SIDE * width:
        raise UserError(f"width={width}: {classes} classes do not fit into {SIDE * width} units")


def hidden_sizes(plan: Blueprint) -> list[tuple[int, int, int]]:
    """(channels, kernel size, side of the image) of the hidden layers."""
    each, side = plan.depth // BLOCKS, padded_side(*plan.input_shape[1:])
    return [
        (plan.width << block, 1 if block == BLOCKS - 1 else 3, side >> block)
        for block in range(BLOCKS)
        for _ in range(each)
    ]


def lipconvnet(plan: Blueprint, *, seed: int, replicate: int = 0, dtype=torch.float64) -> Network:
    """The network of "1-Lipschitz Layers Compared" (arXiv 2311.16833), at base width w.

    Images are zero-padded to 32 x 32 and w channels; a first 1x1 layer; five blocks at sides 32,
    16, 8, 4, 2 and widths w, 2w, ..., 16w, each of depth / 5 convolutions 3x3 (1x1 in the fifth),
    then the first half of the channels and pixel-unshuffle by 2; at one pixel a 32w -> 32w layer,
    of whose outputs the first are the class scores, or a `NormalisedLinear` head.  An activation
    stands behind every layer but the last.  Larger images (multiples of 32) are sum-pooled to one
    pixel with norm 1.
    Raises UserError for a depth, width or shape it cannot be built with.
    """
    check(plan)
    filler = Filler(plan, seed, replicate)
    residual = CONVOLUTIONS.fact(plan.model, "residual", False)
    keys = dict(plan.layer_keys)
    hidden = keys.pop("hidden", None)
    common: dict[str, Any] = {"bias": plan.bias != "none", "init": None, "dtype": dtype, **keys}
    if residual:
        common["activation"] = plan.activation
    between = ACTIVATIONS[plan.between if residual else plan.activation]
    convolution, dense = CONVOLUTIONS[plan.model], LAYERS[plan.model]

    def layer(channels: int, side: int, place: str, number: int = 0) -> FreeWeightModule:
        outputs = hidden if residual else channels
        return filler.fill(
            convolution(channels, outputs, kernel_size=side, **common), place, number
        )

    channels, height, width = plan.input_shape
    side = padded_side(height, width)
    stem: list[tuple[str, nn.Module]] = []
    if plan.mean is not None:
        stem.append(("centre", Centre(plan.mean, plan.input_shape)))
    if (height, width) != (side, side):
        stem.append(("sides", PadSides(side, side)))
    if channels < plan.width:
        stem.append(("channels", PadChannels(channels, plan.width)))
    stem.append(("first", layer(plan.width, 1, "first")))
    stem.append(("activation", between().over_channels()))

    body: list[tuple[str, nn.Module]] = []
    each = plan.depth // BLOCKS
    for number, (channels, kernel_size, _) in enumerate(hidden_sizes(plan), 1):
        body.append((f"layer{number}", layer(channels, kernel_size, "layer", number)))
        body.append((f"activation{number}", between().over_channels()))
        if number % each == 0:
            block = number // each
            body.append((f"half{block}", FirstChannels(channels // 2)))
            body.append((f"unshuffle{block}", PixelUnshuffle(2)))
    if side > SIDE:
        body.append(("pool", SumPool(side // SIDE)))
    body.append(("flatten", Flatten()))

    units, head = SIDE * plan.width, None
    if plan.classes is not None and plan.head == "normalised":
        head = NormalisedLinear(units, plan.classes, bias=common["bias"], init=None, dtype=dtype)
        filler.fill(head, "head")
    elif plan.classes is not None:
        scores = dense(units, hidden if residual else units, **common)
        filler.fill(scores, "head")
        head = nn.Sequential(scores, FirstFeatures(plan.classes))
    return Network(nn.Sequential(OrderedDict(stem)), nn.Sequential(OrderedDict(body)), head)
