"""Forward and backward statistics of every layer of R networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from lipexp.errors import UserError
from lipexp.networks.network import HiddenLayer, Network
from lipexp.probing.cotangent import Cotangent
from lipexp.probing.maps import through
from lipexp.probing.scale import per_network, power
from lipexp.probing.segments import bytes_per_layer, default_budget, segments
from lipexp.probing.signal import (
    Plain,
    Referenced,
    Signal,
    at_scale,
    log10_second_moment,
    mean_over_rms,
)
from lipexp.probing.steps import Step, log10_mean_square, make_step


@dataclass(frozen=True)
class Histogram:
    """Counts of one hidden layer's z / rms(z) over ``edges``: (R, bins), a row per network."""

    layer: int
    edges: np.ndarray
    counts: np.ndarray


@dataclass
class Statistics:
    """What a probe measured: float64 arrays (rows, R) by column, NaN where not measured.

    Row 0 is the signal that enters layer 1, then come the hidden layers, then the head where it
    took part.  Logarithms are base 10, of mean squares over inputs and units.  ``entering``: of
    row 0, the mean squares over inputs of every unit, (R, *shape).
    """

    columns: dict[str, np.ndarray]
    entering: np.ndarray
    layers: list[list[nn.Module] | None]  # the R modules behind each row
    paths: list[str]
    histograms: list[Histogram] = field(default_factory=list)

    def of(self, networks: slice) -> Statistics:
        """The same of some of the R networks."""
        return Statistics(
            {name: column[:, networks] for name, column in self.columns.items()},
            self.entering[networks],
            [modules and modules[networks] for modules in self.layers],
            self.paths,
            [Histogram(h.layer, h.edges, h.counts[networks]) for h in self.histograms],
        )


class _Columns:
    """Values by column and row: float64 arrays (rows, R), NaN until something is put."""

    def __init__(self, rows: int, replicates: int):
        self._shape = (rows, replicates)
        self.arrays: dict[str, np.ndarray] = {}

    def put(self, row: int, **values: np.ndarray | None) -> None:
        for column, value in values.items():
            if column not in self.arrays:
                self.arrays[column] = np.full(self._shape, np.nan)
            if value is not None:
                self.arrays[column][row] = value

    def put_signal(self, row: int, signal: Signal) -> None:
        self.put(
            row,
            log10_second_moment=log10_second_moment(signal),
            log10_variance=signal.log10_variance(),
            mean_over_rms=mean_over_rms(signal),
        )

    def put_cotangent(self, row: int, down: Cotangent) -> Cotangent:
        """Returns it with a drifted scale taken out."""
        down, moment, variance = down.measured()
        self.put(row, log10_gradient_second_moment=moment, log10_gradient_variance=variance)
        return down


@dataclass(frozen=True)
class _Kept:
    """What the backward pass needs of a row: z, mantissas and exponent, and the step behind it."""

    mantissa: Tensor
    exponent: np.ndarray
    step: Step | None


class _Probe:
    """R networks of one shape on their way through one batch."""

    def __init__(self, networks, columns: _Columns, *, histograms, operator_norms, tick):
        self.networks = networks
        self.stacks: list[list[HiddenLayer]] = [
            list(stack) for stack in zip(*(n.hidden_layers() for n in networks), strict=True)
        ]
        self.depth = len(self.stacks)
        self.columns, self.tick = columns, tick
        self.operator_norms = operator_norms
        self.wanted, self.histograms = set(histograms), []

    def layers(self, row: int) -> list[nn.Module]:
        return [hidden.layer for hidden in self.stacks[row - 1]]

    def activation(self, row: int):
        """The activation behind hidden layer ``row``."""
        return self.stacks[row - 1][0].activation

    def maps(self, row: int):
        """The parameter-free linear maps behind that activation."""
        return self.stacks[row - 1][0].maps

    def has_bias(self) -> bool:
        layers = [hidden.layer for stack in self.stacks for hidden in stack]
        layers += [network.head_layer for network in self.networks if network.has_head]
        return any(layer.bias is not None and bool(layer.bias.detach().any()) for layer in layers)

    def climb(self, signal: Signal, rows: range, *, keep: bool, record: bool):
        """From the signal of row ``rows[0] - 1``, before its activation, to the last row's."""
        kept = [_Kept(signal.full(), signal.exponent, None)]
        for row in rows:
            step = make_step(self.layers(row), gradients=keep)
            if row > 1:
                signal = signal.activated(self.activation(row - 1)).through(self.maps(row - 1))
            signal, inner_activity = step.up(signal)
            signal = signal.measured()
            full = signal.full()
            if record:
                self._record(row, signal, full, step, inner_activity)
                self.tick()
            if keep:
                kept.append(_Kept(full, signal.exponent, step))
        return signal, kept

    def _record(self, row, signal, full, step, inner_activity) -> None:
        if inner_activity is None:
            inner_activity = self.activation(row).active_fraction(full)
        self.columns.put_signal(row, signal)
        self.columns.put(
            row,
            active_fraction=inner_activity.cpu().numpy(),
            log10_weight_variance=log10_mean_square(step.effective_weight()),
            operator_norm=step.operator_norm() if self.operator_norms else None,
        )
        if row in self.wanted:
            self.histograms.append(_histogram(row, full, signal.size))

    def descend(self, down: Cotangent, rows: range, kept: list[_Kept]) -> Cotangent:
        """From the cotangent at the last of ``rows`` to that of row ``rows[0] - 1``."""
        for row in reversed(rows):
            step = kept.pop().step
            below = kept[-1]
            x = below.mantissa
            if row > 1:
                x = at_scale(self.activation(row - 1), below.exponent, x)(x)
                x = through(self.maps(row - 1), x)
            down, moment = step.down(down, x, below.exponent)
            self.columns.put(row, log10_weight_gradient_second_moment=moment)
            if row > 1:
                down = self._below(down, row - 1, below)
            down = self.columns.put_cotangent(row - 1, down)
            self.tick()
        return down

    def _below(self, down: Cotangent, row: int, z: _Kept) -> Cotangent:
        """From the cotangent at the next layer's input to that at z of ``row``."""
        down = down.pulled_through(self.maps(row), z.mantissa.shape[2:])
        return down.pulled_back(self.activation(row), z.mantissa, z.exponent)

    def through_head(self, top: Signal, z: _Kept, labels: Tensor) -> Cotangent:
        """The cotangent of the summed cross-entropy at the last z; records the head.

        labels: (R, inputs).
        """
        row, maps = self.depth + 1, self.networks[0].head_maps
        step = make_step([network.head_layer for network in self.networks], gradients=True)
        entering = top.activated(self.activation(self.depth)).through(self.maps(self.depth))
        outputs = step.up(entering)[0].measured()
        self.columns.put_signal(row, outputs)
        self.columns.put(row, log10_weight_variance=log10_mean_square(step.effective_weight()))
        if self.operator_norms:
            self.columns.put(row, operator_norm=step.operator_norm())
        scores = through(maps, outputs.full())
        loss = (scores * power(outputs.exponent, scores)).softmax(dim=2)
        loss.scatter_add_(2, labels[..., None], loss.new_full((*labels.shape, 1), -1.0))
        down = Cotangent.of(loss).pulled_through(maps, outputs.full().shape[2:])
        down = self.columns.put_cotangent(row, down)
        down, moment = step.down(down, entering.full(), entering.exponent)
        self.columns.put(row, log10_weight_gradient_second_moment=moment)
        return self._below(down, self.depth, z)


def _forget_lost_variance(run: _Probe, columns: _Columns) -> None:
    """Of equal cotangents through curved activations, slopes differ by less than a rounding deep
    under a bias: what is left of their variance there cannot be had.
    """
    if all(run.activation(row).homogeneous for row in range(1, run.depth + 1)):
        return
    variance = columns.arrays["log10_gradient_variance"]
    below = variance < columns.arrays["log10_gradient_second_moment"] - 20
    below[run.depth] = False  # equal to begin with
    variance[below] = np.nan


def _histogram(row: int, full: Tensor, size: np.ndarray, bins: int = 121) -> Histogram:
    edges = np.linspace(-6, 6, bins + 1)
    safe = np.where(size > 0, size, 1.0)
    values = full.double().cpu().numpy() / per_network(safe, full.dim())
    counts = np.stack([np.histogram(of_one, edges)[0] for of_one in values])
    return Histogram(row, edges, counts)


def _entering_cotangent(kind: str, z: Tensor, generators) -> Cotangent:
    """The chosen cotangent at z (R, inputs, *shape), with second moment 1."""
    if kind == "ones":
        return Cotangent.of(torch.ones_like(z), common=True)
    draws = np.stack([generator.standard_normal(z.shape[1:]) for generator in generators])
    draws /= np.sqrt(np.square(draws).mean(axis=tuple(range(1, draws.ndim)), keepdims=True))
    return Cotangent.of(torch.from_numpy(draws).to(z))


def probe(
    networks: Sequence[Network],
    inputs: Tensor | Sequence[Tensor],
    *,
    cotangent: str = "gaussian",
    generators: Sequence[np.random.Generator] = (),
    labels: Tensor | Sequence[Tensor] | None = None,
    histograms: Sequence[int] = (),
    operator_norms: bool = True,
    kept_bytes: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Statistics:
    """Sends ``inputs`` (batch, ...) up R networks of one shape, and a cotangent down again.

    ``inputs`` and ``labels``: one batch for all networks, or R of one size, a network's own each.

    Units of images are all their channels at all pixels; a head's are all that its layer computes,
    also those that are no class scores.

    ``cotangent``: "gaussian" (N(0, 1), one per input, drawn from the R ``generators``) or "ones",
    both of second moment 1 at the last hidden layer's z, where the head takes no part; or "loss":
    of the summed cross-entropy, through the head, which needs ``labels`` (batch,).
    ``histograms``: numbers of hidden layers.  ``progress(done, total)`` after each layer's step.

    Memory beyond the weights: what the backward pass needs of all layers where that is at most
    ``kept_bytes`` (default: 1 MiB per unit, or channel, of width), else of as many as fit,
    sqrt(depth) at least; the others are computed twice.  And a dozen signals of the largest layer.
    Raises UserError for "loss" on a network without a head, and for layers it does not know.
    """
    if cotangent == "loss" and (labels is None or not networks[0].has_head):
        raise UserError("task.cotangent=loss needs a data set with classes")
    depth = sum(1 for _ in networks[0].hidden_layers())
    has_head = cotangent == "loss"
    columns = _Columns(depth + 1 + has_head, len(networks))
    steps = 0

    def tick() -> None:
        nonlocal steps
        steps += 1
        progress(steps, 2 * depth)

    run = _Probe(networks, columns, histograms=histograms, operator_norms=operator_norms, tick=tick)
    with torch.no_grad():
        own = [inputs] * len(networks) if isinstance(inputs, Tensor) else inputs
        x = torch.stack([network.stem(some) for network, some in zip(networks, own, strict=True)])
    entering = x.double().square().mean(1).cpu().numpy()
    signal: Signal = (Referenced if run.has_bias() else Plain).of(x)
    columns.put_signal(0, signal)

    hidden = [stack[0] for stack in run.stacks]
    budget = default_budget(hidden) if kept_bytes is None else kept_bytes
    parts = segments(bytes_per_layer(hidden, x), budget)
    starts: list[Signal] = []
    for rows in parts:
        starts.append(signal)
        signal, kept = run.climb(signal, rows, keep=rows is parts[-1], record=True)

    if has_head:
        own = [labels] * len(networks) if isinstance(labels, Tensor) else labels
        down = run.through_head(signal, kept[-1], torch.stack(list(own)))
    else:
        down = _entering_cotangent(cotangent, kept[-1].mantissa, generators)
    down = columns.put_cotangent(depth, down)
    for rows, start in zip(reversed(parts), reversed(starts), strict=True):
        if rows is not parts[-1]:
            _, kept = run.climb(start, rows, keep=True, record=False)
        down = run.descend(down, rows, kept)

    if cotangent == "ones":
        _forget_lost_variance(run, columns)

    layers: list[list[nn.Module] | None] = [None, *(run.layers(r) for r in range(1, depth + 1))]
    paths = ["input", *(stack[0].path for stack in run.stacks)]
    if has_head:
        layers.append([network.head_layer for network in networks])
        paths.append("head")
    return Statistics(columns.arrays, entering, layers, paths, run.histograms)
