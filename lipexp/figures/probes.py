"""Probes of many networks for a figure: what `lipexp run` measures, without a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from lipexp.streams import stream

if TYPE_CHECKING:
    from lipexp.networks.network import Network

KEPT = (
    "log10_second_moment",
    "log10_variance",
    "log10_gradient_second_moment",
    "log10_gradient_variance",
    "log10_weight_variance",
)


def probed(*, inputs: int, seed: int, **network) -> pd.DataFrame:
    """A row per (network, layer 0 .. depth) of square networks, float64: the columns KEPT.

    Inputs are N(0, 1), the same for all networks; the cotangent at the last z is Gaussian.
    ``network``: the keywords of `square_networks`.
    """
    return probe_of(square_networks(seed=seed, **network), inputs=inputs, seed=seed)


def square_networks(
    *,
    model: str = "aol",
    width: int,
    depth: int,
    networks: int,
    seed: int,
    activation: str = "relu",
    init: str = "normal",
    bias: str = "zero",
    **layer_keys,
) -> list[Network]:
    """Networks without a head whose layers all have one width, float64, on the device.

    ``layer_keys`` go to the layer's constructor.
    """
    from lipexp.networks.blueprint import Blueprint
    from lipexp.networks.mlp import mlp
    from lipexp.runs.device import choose_device

    plan = Blueprint(
        model,
        depth,
        width,
        (width,),
        activation=activation,
        bias=bias,
        init=init,
        layer_keys=layer_keys,
    )
    device = choose_device("auto")
    return [mlp(plan, seed=seed, replicate=r).to(device) for r in range(networks)]


def put_activation(networks: Sequence[Network], name: str) -> None:
    """Changes the activation of all layers and nothing else, without drawing them again."""
    from lipexp.activations import ACTIVATIONS
    from lipexp.layers.base import LipschitzResidual

    for network in networks:
        for hidden in network.hidden_layers():
            if isinstance(hidden.layer, LipschitzResidual):
                hidden.layer.activation = ACTIVATIONS[name]()
            else:
                setattr(network.body, f"activation{hidden.number}", ACTIVATIONS[name]())


def put_effective_weights(networks: Sequence[Network]) -> None:
    """Puts a plain layer with the effective weight in the place of every feedforward layer.

    Signals and cotangents are the same to rounding, and nothing is rescaled again for each probe;
    gradients of free weights are another matter.  Residual layers stay.
    """
    import torch

    from lipexp.layers import LAYERS
    from lipexp.layers.base import LipschitzResidual

    for network in networks:
        for hidden in list(network.hidden_layers()):
            layer = hidden.layer
            if isinstance(layer, LipschitzResidual):
                continue
            biased = layer.bias is not None
            kind = {"dtype": layer.free_weight.dtype, "device": layer.free_weight.device}
            plain = LAYERS["linear"](layer.fan_in, layer.fan_out, bias=biased, init=None, **kind)
            with torch.no_grad():
                plain.weight.copy_(layer.effective_weight())
                if biased:
                    plain.bias.copy_(layer.bias)
            setattr(network.body, f"layer{hidden.number}", plain)


def probe_of(
    networks: Sequence[Network], *, inputs: int, seed: int, kept_bytes: int | None = None
) -> pd.DataFrame:
    """`probed` of square networks that are there; ``kept_bytes`` as in `lipexp.probing.probe`."""
    import torch

    from lipexp.data.gaussian import gaussian_inputs
    from lipexp.probing.probe import probe
    from lipexp.runs.device import threads_for

    weight = next(networks[0].hidden_layers()).layer.free_weight
    width = weight.shape[1]
    with threads_for(len(networks) * inputs * width):
        statistics = probe(
            networks,
            torch.from_numpy(gaussian_inputs(inputs, width, seed)).to(weight.device),
            generators=[stream(seed, "cotangent", r) for r in range(len(networks))],
            operator_norms=False,
            kept_bytes=kept_bytes,
        )
    columns = {name: statistics.columns[name].ravel() for name in KEPT}
    rows = len(columns[KEPT[0]]) // len(networks)
    places = [(network, layer) for layer in range(rows) for network in range(len(networks))]
    table = pd.DataFrame(places, columns=["network", "layer"])
    return table.assign(**columns)


def slopes(table: pd.DataFrame, column: str, first: int, last: int) -> pd.Series:
    """Of each network, (value at ``last`` - value at ``first``) / layers between.

    Ends and not a fit: steps are independent, so that the mean step is the best estimate.
    """
    at = table.set_index(["network", "layer"])[column].unstack("layer")
    return (at[last] - at[first]) / (last - first)
