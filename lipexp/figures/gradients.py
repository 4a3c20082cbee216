"""Gradients on their way down AOL networks whose loss is the sum of the last relu's outputs.

x_l is the input of layer l, so dL/dx_l = W_l^T (slopes o dL/dx_(l+1)) and dL/dx_(L+1) is the
cotangent: ones, as in the paper, or N(0, 1) numbers.  With k = L + 1 - l steps, E |dL/dx_l|^2 is
(n q / 2)^k for the Gaussian cotangent and `output_sum_factor` times that for ones.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lipexp.figures.figure import Context, Setting, Tables
from lipexp.figures.signals import BINS, blueprint, filled_layer, histogram_table
from lipexp.streams import stream
from lipexp.theory import gaussian_weight_variance
from lipexp.theory.cotangent import output_sum_factor

MATRICES, COTANGENTS = ("fresh", "shared"), ("ones", "gaussian")


def descended(setting: Setting, context: Context) -> Tables:
    """``variance``: a row per (matrices, cotangent, network, label l); ``histograms`` of the
    paper's case, shared matrices and ones.

    ``setting``: width, depth, inputs, networks, dtype, bias, seed, and the labels whose histograms
    are taken.  Shared: all layers are one layer, weights and bias, as in the paper's script.
    """
    import torch

    from lipexp.activations import ACTIVATIONS
    from lipexp.probing.cotangent import Cotangent
    from lipexp.probing.scale import rms
    from lipexp.probing.signal import Plain
    from lipexp.probing.steps import make_step
    from lipexp.runs.device import choose_device

    device, dtype = choose_device("auto"), getattr(torch, setting["dtype"])
    depth, relu = setting["depth"], ACTIVATIONS["relu"]()
    shape = (1, setting["inputs"], setting["width"])
    rows, counts = [], dict.fromkeys(setting["histograms"], 0)
    cases = [(network, matrices) for network in range(setting["networks"]) for matrices in MATRICES]
    for network, matrices in context.ticking(cases):
        layers = _layers(setting, network, matrices, dtype)
        steps = [make_step([layer.to(device)], gradients=False) for layer in layers]
        steps *= depth // len(steps)
        draws = stream(setting["seed"], "inputs", network).standard_normal(shape)
        signal, signals = Plain.of(torch.from_numpy(draws).to(device, dtype)), []
        for number, step in enumerate(steps):
            signal = step.up(signal if number == 0 else signal.activated(relu))[0].measured()
            signals.append(signal)
        for cotangent in COTANGENTS:
            down = Cotangent.of(_entering(cotangent, setting, network).to(device, dtype))
            for label in range(depth, 1, -1):
                z = signals[label - 1]
                down = down.pulled_back(relu, z.mantissa, z.exponent)
                down = down.through(steps[label - 1].map, shape[2:])
                down, moment, _ = down.measured()
                full = down.full()
                size = rms(full)[0]
                mean = float(full.double().mean()) / size
                variance = moment[0] + math.log10(1 - mean**2)
                rows.append((matrices, cotangent, network, label, variance, moment[0]))
                if label in counts and (matrices, cotangent) == ("shared", "ones"):
                    values = (full / size).flatten().cpu().numpy()
                    counts[label] = counts[label] + np.histogram(values, BINS)[0]
    columns = ["matrices", "cotangent", "network", "label", "log10_variance", "log10_second_moment"]
    table = pd.DataFrame(rows, columns=columns)
    table["law"] = [
        log10_law(setting["width"], depth + 1 - label, cotangent)
        for cotangent, label in zip(table["cotangent"], table["label"], strict=True)
    ]
    return {"variance": table, "histograms": histogram_table(counts)}


def _layers(setting: Setting, network: int, matrices: str, dtype) -> list:
    """The layers that there are: all of them, or the one that is repeated."""
    from lipexp.networks.blueprint import Filler

    plan = blueprint(setting)
    filler = Filler(plan, setting["seed"], network)
    count = 1 if matrices == "shared" else setting["depth"]
    return [filled_layer(plan, filler, 1 + index, dtype) for index in range(count)]


def _entering(cotangent: str, setting: Setting, network: int):
    """(1, inputs, width), float64."""
    import torch

    shape = (1, setting["inputs"], setting["width"])
    if cotangent == "ones":
        return torch.ones(shape, dtype=torch.float64)
    return torch.from_numpy(stream(setting["seed"], "cotangent", network).standard_normal(shape))


def rate(width: int) -> float:
    """g = n q / 2, by which a fresh square layer multiplies the second moment."""
    return width * gaussian_weight_variance(fan_in=width, fan_out=width) / 2


def log10_law(width: int, steps: int, cotangent: str) -> float:
    """log10 of the second moment of dL/dx after so many steps, zero bias and fresh matrices."""
    factor = output_sum_factor(width=width, steps=steps) if cotangent == "ones" else 1.0
    return steps * math.log10(rate(width)) + math.log10(factor)


def log10_law_of_variance(width: int, steps: int, cotangent: str) -> float:
    """The same less the squared mean: of ones, 1/pi of what lies along the signal."""
    power = 10 ** log10_law(width, steps, cotangent)
    mean = rate(width) ** steps / math.pi**2 if cotangent == "ones" else 0.0
    return math.log10(power - mean)
