"""What the probe measures, by textbook autograd in plain float64: the oracle where it fits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lipexp.streams import stream


def gaussian_cotangent(shape, replicate=0) -> Tensor:
    """What ``probe`` draws of the generator of `generators`."""
    draw = stream(0, "cotangent", replicate).standard_normal(shape)
    return torch.from_numpy(draw / np.sqrt(np.square(draw).mean()))


def generators(replicates=1):
    return [stream(0, "cotangent", r) for r in range(replicates)]


def climbed(network, x) -> tuple[list[Tensor], Tensor]:
    """([the signal that enters layer 1, z_1, ..., z_depth], what stands behind the last maps)."""
    zs = [network.stem(x).detach().requires_grad_()]
    h = zs[0]
    for hidden in network.hidden_layers():
        z = hidden.layer(h)
        z.retain_grad()
        zs.append(z)
        h = hidden.activation(z)
        for each in hidden.maps:
            h = each(h)
    return zs, h


def log10_mean_square(x: Tensor) -> float:
    return float(x.detach().square().mean().log10())


def log10_variance(x: Tensor) -> float:
    return float(x.detach().var(dim=0, correction=0).mean().log10())


def columns(zs, layers) -> dict[str, list[float]]:
    """The columns of a climb whose gradients have been computed, and of its layers' weights."""
    return {
        "log10_second_moment": [log10_mean_square(z) for z in zs],
        "log10_variance": [log10_variance(z) for z in zs],
        "mean_over_rms": [float(z.detach().mean() / z.detach().square().mean().sqrt()) for z in zs],
        "log10_gradient_second_moment": [log10_mean_square(z.grad) for z in zs],
        "log10_gradient_variance": [log10_variance(z.grad) for z in zs],
        "log10_weight_gradient_second_moment": [
            np.nan,
            *(log10_mean_square(layer.free_weight.grad) for layer in layers),
        ],
    }


def plain(network, x, cotangent=None) -> dict[str, list[float]]:
    """Moments, variances and gradients of every z, for a cotangent at the last (default: drawn)."""
    zs, _ = climbed(network, x)
    zs[-1].backward(gaussian_cotangent(zs[-1].shape) if cotangent is None else cotangent)
    return columns(zs, [hidden.layer for hidden in network.hidden_layers()])


def plain_loss(network, x, labels) -> dict[str, list[float]]:
    """The same for the summed cross-entropy; the last row is the output of the head's layer."""
    zs, h = climbed(network, x)
    z = network.head_layer(h)
    z.retain_grad()
    scores = z
    for each in network.head_maps:
        scores = each(scores)
    torch.nn.functional.cross_entropy(scores, labels, reduction="sum").backward()
    layers = [hidden.layer for hidden in network.hidden_layers()]
    return columns([*zs, z], [*layers, network.head_layer])
