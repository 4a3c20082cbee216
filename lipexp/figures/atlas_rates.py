"""The atlas's numbers: every layer, activation, init and bias, up and down, beside its law."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lipexp.activations import ACTIVATIONS
from lipexp.figures.figure import Context, Setting
from lipexp.figures.probes import (
    probe_of,
    put_activation,
    put_effective_weights,
    square_networks,
)
from lipexp.inits import INITS
from lipexp.layers import LAYERS
from lipexp.theory import profile
from lipexp.theory.rates import CARRYING_RATE

if TYPE_CHECKING:
    from lipexp.networks.network import Network

# Beside each layer as it is by default: keys of its own that change the law of square layers.
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "sll": ({"q": "normal"},),
    "sll_feedforward": ({"q": "normal"},),
}
DEEP = 1000  # layers
LARGEST_CHANGE = DEEP * CARRYING_RATE  # decades of the second moment, within which it is carried
WAYS = ("forward", "backward")
KEPT_BYTES = 2**32  # of deep networks, so that no layer is computed twice
LOSSLESS = 1e-9  # decades per layer, below which a rate is rounding
LAW_LAYERS = 12  # by then every law has the gain it has deep in a network


@dataclass(frozen=True)
class Group:
    """Networks that differ in nothing but the activation."""

    model: str
    keys: dict[str, Any]
    init: str
    bias: str
    width: int

    @property
    def layer(self) -> str:
        """The layer in a word, with its keys."""
        return " ".join([self.model, *(f"{k}={str(v).lower()}" for k, v in self.keys.items())])

    @property
    def activations(self) -> list[str]:
        """Those that are allowed: residual layers are sound for slopes in [0, 1] alone."""
        residual = LAYERS.fact(self.model, "residual", False)
        fits = [name for name in ACTIVATIONS if not self.width % ACTIVATIONS.fact(name, "multiple")]
        return [n for n in fits if not residual or ACTIVATIONS.fact(n, "slope_restricted")]

    def networks(self, depth: int, count: int, seed: int) -> list[Network]:
        """Such networks; feedforward layers are rescaled once, here, for all activations."""
        made = square_networks(
            model=self.model,
            width=self.width,
            depth=depth,
            networks=count,
            seed=seed,
            init=self.init,
            bias=self.bias,
            **self.keys,
        )
        put_effective_weights(made)
        return made

    @property
    def biased(self) -> bool:
        return self.bias not in ("zero", "none")


def groups(setting: Setting) -> Iterator[Group]:
    """Every one of a setting, in the order of the registries."""
    for width in setting["widths"]:
        for bias in setting["biases"]:
            for model in LAYERS:
                for keys in ({}, *VARIANTS.get(model, ())):
                    for init in INITS:
                        yield Group(model, keys, init, bias, int(width))


def laws(group: Group, activation: str) -> dict[str, float]:
    """log10 of the gain of a layer deep in the network, in expectation and typical; NaN without."""
    found = profile(
        group.model,
        group.init,
        activation,
        [group.width] * (LAW_LAYERS + 1),
        bias=group.bias,
        **group.keys,
    )
    here = LAW_LAYERS // 2
    up = "log10_input_variance" if group.biased else "log10_second_moment"
    down = "log10_gradient_second_moment"
    steps = {}
    for way, column, first, then in (("forward", up, -1, 0), ("backward", down, 0, -1)):
        for kind, prefix in (("law", ""), ("typical", "typical_")):
            values = getattr(found, prefix + column)
            steps[f"{way}_{kind}"] = float(values[here + then] - values[here + first]) + 0.0
    return steps | {"weight_law": float(found.log10_weight_variance[here])}


def rates(setting: Setting, context: Context) -> pd.DataFrame:
    """A row per combination: log10 per layer of what is left of the signal and of the gradient.

    ``<way>``: mean step over layers and networks, ``<way>_gain`` log10 of the mean gain, each with
    its standard error; ``<way>_law``, ``<way>_typical``; ``<way>_deep``: log10 of what is left
    after 1,000 layers: the rate times 1,000, but measured where the rate is small and not 0, as it
    may yet change.  ``weight``: log10 of the mean square of effective weights.  The signal is one
    input's second moment, under a bias the difference of two inputs.
    """
    rows = []
    for group in context.ticking(groups(setting)):
        layers, count = setting["widths"][str(group.width)]
        made = group.networks(layers + 2 * setting["head"], count, setting["seed"])
        deep = None
        for activation in group.activations:
            row = _identity(group, activation, layers * count)
            row |= _measured(made, activation, group, setting) | laws(group, activation)
            row["measured_deep"] = group.width in setting["deep"] and _is_open(row, setting)
            if row["measured_deep"]:
                deep = deep or group.networks(DEEP, 1, setting["seed"])
                row |= _deep(deep, activation, group, setting)
            else:
                row |= {f"{way}_deep": DEEP * row[way] for way in WAYS}
            rows.append(row)
    table = pd.DataFrame(rows)
    ends = table[[f"{way}_deep" for way in WAYS]].abs()
    table["carries"] = (ends < LARGEST_CHANGE).all(axis=1)
    table["half_life"] = math.log10(2) / table["forward"].where(table["forward"] < -LOSSLESS).abs()
    return table


def _is_open(row: dict[str, Any], setting: Setting) -> bool:
    """Whether the rate does not tell what is left after 1,000 layers: slow, but not lossless."""
    largest = max(abs(row[way]) for way in WAYS)
    return LOSSLESS < largest < setting["deep_below"]


def _identity(group: Group, activation: str, steps: int) -> dict[str, Any]:
    return {
        "layer": group.layer,
        "init": group.init,
        "activation": activation,
        "bias": group.bias,
        "width": group.width,
        "steps": steps,
    }


def _probed(networks, activation: str, group: Group, setting: Setting) -> dict[str, np.ndarray]:
    """log10 by way and of the weights, (networks, layers): what stands at z_0, ..., z_depth."""
    put_activation(networks, activation)
    inputs = 2 if group.biased else 1
    table = probe_of(networks, inputs=inputs, seed=setting["seed"], kept_bytes=KEPT_BYTES)
    at = table.set_index(["network", "layer"])
    signal = "log10_variance" if group.biased else "log10_second_moment"
    columns = dict(zip(WAYS, (signal, "log10_gradient_second_moment"), strict=True))
    columns["weight"] = "log10_weight_variance"
    return {way: at[column].unstack("layer").to_numpy() for way, column in columns.items()}


def _measured(networks, activation: str, group: Group, setting: Setting) -> dict[str, float]:
    """Mean steps away from both ends; standard errors of steps that are independent."""
    head, found = setting["head"], {}
    probed = _probed(networks, activation, group, setting)
    for way in WAYS:
        values = probed[way]
        steps = np.diff(values[:, head : values.shape[1] - head], axis=1).ravel()
        steps = steps if way == "forward" else -steps
        gains = 10**steps
        root = math.sqrt(steps.size)
        found[way] = float(steps.mean())
        found[f"{way}_error"] = float(steps.std(ddof=1) / root)
        found[f"{way}_gain"] = float(np.log10(gains.mean()))
        found[f"{way}_gain_error"] = float(gains.std(ddof=1) / gains.mean() / root / math.log(10))
    return found | {"weight": float(np.log10(np.mean(10 ** probed["weight"][:, 1:])))}


def _deep(networks, activation: str, group: Group, setting: Setting) -> dict[str, float]:
    values = _probed(networks, activation, group, setting)
    up, down = values["forward"][0], values["backward"][0]
    return {"forward_deep": float(up[-1] - up[0]), "backward_deep": float(down[0] - down[-1])}
