"""Signals on their way up AOL networks: variance layer by layer, and histograms.

One layer at a time, so that fifteen matrices of 8192 x 8192 need the memory of one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lipexp.figures.figure import Context, Setting, Tables
from lipexp.streams import stream

BINS = np.linspace(-5, 5, 101)  # of a value divided by its layer's root mean square


def climbed(setting: Setting, context: Context) -> Tables:
    """``variance``: a row per (network, layer); ``histograms``: a row per (layer, bin).

    ``setting``: width, depth, inputs, networks, dtype, bias, seed and histograms (layers).  z_l is
    layer l's output before the activation; inputs are N(0, 1); layer 0 is the input.  The variance
    is over inputs and units together.  Histograms are of all networks' z_l / rms(z_l), their rms
    each.
    """
    import torch

    from lipexp.activations import ACTIVATIONS
    from lipexp.networks.blueprint import Filler
    from lipexp.probing.signal import Plain, log10_second_moment, mean_over_rms
    from lipexp.probing.steps import make_step
    from lipexp.runs.device import choose_device

    device, dtype = choose_device("auto"), getattr(torch, setting["dtype"])
    depth, networks, relu = setting["depth"], setting["networks"], ACTIVATIONS["relu"]()
    rows, counts = [], dict.fromkeys(setting["histograms"], 0)
    plan = blueprint(setting)
    for network in range(networks):
        filler = Filler(plan, setting["seed"], network)
        shape = (setting["inputs"], setting["width"])
        x = stream(setting["seed"], "inputs", network).standard_normal(shape)
        signal = Plain.of(torch.from_numpy(x).to(device, dtype)[None])
        del x
        for layer in range(depth + 1):
            if layer:
                module = filled_layer(plan, filler, layer, dtype).to(device)
                if layer > 1:
                    signal = signal.activated(relu)
                signal = make_step([module], gradients=False).up(signal)[0].measured()
                context.tick(network * depth + layer, networks * depth)
            moment, mean = log10_second_moment(signal)[0], mean_over_rms(signal)[0]
            rows.append((network, layer, moment + np.log10(1 - mean**2), moment, mean))
            if layer in counts:
                values = (signal.full() / signal.size[0]).flatten().cpu().numpy()
                counts[layer] = counts[layer] + np.histogram(values, BINS)[0]
    columns = ["network", "layer", "log10_variance", "log10_second_moment", "mean_over_rms"]
    return {"variance": pd.DataFrame(rows, columns=columns), "histograms": histogram_table(counts)}


def histogram_table(counts: dict[int, np.ndarray]) -> pd.DataFrame:
    """Columns layer, low, high (edges of a bin, in root mean squares), count."""
    parts = [
        pd.DataFrame({"layer": layer, "low": BINS[:-1], "high": BINS[1:], "count": each})
        for layer, each in counts.items()
    ]
    return pd.concat(parts, ignore_index=True)


def blueprint(setting: Setting):
    """AOL, Gaussian weights, square layers, relu, under the setting's bias."""
    from lipexp.networks.blueprint import Blueprint

    width = setting["width"]
    return Blueprint("aol", setting["depth"], width, (width,), bias=setting["bias"])


def filled_layer(plan, filler, number: int, dtype):
    """Layer ``number`` of the network that ``filler`` fills."""
    from lipexp.layers import LAYERS

    layer = LAYERS[plan.model](plan.width, plan.width, bias=True, init=None, dtype=dtype)
    return filler.fill(layer, "layer", number)
