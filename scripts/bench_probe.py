#!/usr/bin/env python
"""The probe's seconds beside plain autograd's and beside its matrix products alone, as a table.

    python scripts/bench_probe.py --widths 256,1024 --rounds 9

Of an AOL network (relu, normal init, zero bias) with a Gaussian cotangent at the last layer,
forward and backward with the free weights' gradient:

ours      ``lipexp.probing.probe.probe``, all columns of layers.csv but the operator norms
plain     the textbook rescaling under autograd with the gradient of every z, the same statistics
          afterwards; compared with ours before anything is timed
floor     the matrix products alone, into tensors made beforehand; b inputs, n units:
          2 n^3 (Gram matrix; its gradient as one product) + 3 b n^2 (up, down, dL/dW) a layer
half      as floor with the Gram matrix by blocks of its upper triangle: 1.56 n^3 + 3 b n^2

One process, one thread count (OMP_NUM_THREADS chooses it); each round runs all four, one after the
other, so a ratio compares neighbours in time; columns are medians over the rounds.  The operator
norm, one exact largest singular value a layer, is timed apart.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lipexp.networks.blueprint import Blueprint
from lipexp.networks.mlp import mlp
from lipexp.probing.probe import probe
from lipexp.probing.steps import largest_singular_value
from lipexp.streams import stream

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BLOCKS = 8
# In float32 the signs of small entries of the Gram matrix, and so the gradient, are rounding.
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-2}


@dataclass(frozen=True)
class Case:
    """One row of the table: a network, a batch and a cotangent."""

    width: int
    depth: int
    dtype: torch.dtype
    inputs: Tensor
    network: torch.nn.Module

    @staticmethod
    def of(width: int, depth: int, batch: int, dtype: torch.dtype) -> Case:
        plan = Blueprint("aol", depth, width, (width,), activation="relu", init="normal")
        draws = stream(0, "bench inputs").standard_normal((batch, width))
        inputs = torch.from_numpy(draws).to(DEVICE, dtype)
        return Case(width, depth, dtype, inputs, mlp(plan, seed=0, dtype=dtype).to(DEVICE))

    def weights(self) -> list[Tensor]:
        return [hidden.layer.weight for hidden in self.network.hidden_layers()]

    def cotangent(self) -> Tensor:
        """What ``probe`` draws of the same generator."""
        draws = stream(0, "bench cotangent").standard_normal(tuple(self.inputs.shape))
        return torch.from_numpy(draws / np.sqrt(np.square(draws).mean())).to(self.inputs)


def ours(case: Case) -> dict[str, np.ndarray]:
    generator = stream(0, "bench cotangent")
    found = probe([case.network], case.inputs, generators=[generator], operator_norms=False)
    return {name: column[1:, 0] for name, column in found.columns.items()}


def plain(case: Case) -> dict[str, np.ndarray]:
    """What one would write without the probe; the names are those of layers.csv."""
    weights, effective, z = case.weights(), [], []
    x = case.inputs
    for v in weights:
        gram = v.T @ v
        w = v * gram.abs().sum(0).rsqrt()
        signal = x @ w.T
        effective.append(w.detach())
        z.append(signal)
        x = signal.relu()
    gradients = torch.autograd.grad(z[-1], [*weights, *z], case.cotangent())
    pulled, down = gradients[: len(weights)], gradients[len(weights) :]
    with torch.no_grad():
        moment = [signal.square().mean() for signal in z]
        columns = {
            "log10_second_moment": _log10(moment),
            "log10_variance": _log10([s.var(0, correction=0).mean() for s in z]),
            "mean_over_rms": _values([s.mean() / m.sqrt() for s, m in zip(z, moment, strict=True)]),
            "active_fraction": _values([(signal > 0).double().mean() for signal in z]),
            "log10_weight_variance": _log10([w.square().mean() for w in effective]),
            "log10_gradient_second_moment": _log10([d.square().mean() for d in down]),
            "log10_gradient_variance": _log10([d.var(0, correction=0).mean() for d in down]),
            "log10_weight_gradient_second_moment": _log10([g.square().mean() for g in pulled]),
        }
    return columns


def _values(scalars: Sequence[Tensor]) -> np.ndarray:
    return torch.stack([scalar.double() for scalar in scalars]).cpu().numpy()


def _log10(scalars: Sequence[Tensor]) -> np.ndarray:
    return np.log10(_values(scalars))


class Products:
    """The matrix products of one network, forward and backward, into tensors made beforehand."""

    def __init__(self, case: Case, *, half: bool):
        n, x = case.width, case.inputs
        self.x, self.half = x, half
        self.layers = [(v.detach(), torch.empty_like(x)) for v in case.weights()]
        self.down, self.gram, self.gradient = torch.empty_like(x), *x.new_zeros(2, n, n)
        edges = [round(n * k / BLOCKS) for k in range(BLOCKS + 1)]
        self.blocks = [
            (start, stop, x.new_empty(stop - start, n - start)) for start, stop in pairwise(edges)
        ]

    def __call__(self) -> None:
        for v, z in self.layers:
            if self.half:
                for start, stop, block in self.blocks:
                    torch.mm(v[:, start:stop].T, v[:, start:], out=block)
            else:
                torch.mm(v.T, v, out=self.gram)
            torch.mm(self.x, v.T, out=z)
        for v, z in reversed(self.layers):
            torch.mm(z.T, self.x, out=self.gradient)
            torch.mm(z, v, out=self.down)
            torch.mm(v, self.gram, out=self.gradient)


def seconds(call: Callable[[], object]) -> float:
    _wait()
    began = time.perf_counter()
    call()
    _wait()
    return time.perf_counter() - began


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def compare(case: Case) -> None:
    """Ours and plain must have measured the same."""
    one, other = ours(case), plain(case)
    for name, values in other.items():
        np.testing.assert_allclose(one[name], values, atol=TOLERANCE[case.dtype], err_msg=name)


@dataclass(frozen=True)
class Row:
    """One line of the table, and of the CSV."""

    width: int
    dtype: str
    depth: int
    n: int
    ours: float
    plain: float
    floor: float
    half: float
    ours_over_floor: float
    ours_over_floor_quartiles: tuple[float, float]
    ours_over_half: float
    plain_over_ours: float
    plain_over_ours_quartiles: tuple[float, float]


def measure(case: Case, rounds: int) -> Row:
    compare(case)
    ways = {
        "ours": lambda: ours(case),
        "plain": lambda: plain(case),
        "floor": Products(case, half=False),
        "half": Products(case, half=True),
    }
    for call in ways.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, call in ways.items():
            taken[name].append(seconds(call))

    def ratio(one: str, other: str) -> np.ndarray:
        return np.array(taken[one]) / np.array(taken[other])

    def quartiles(values: np.ndarray) -> tuple[float, float]:
        low, high = np.quantile(values, (0.25, 0.75))
        return float(low), float(high)

    over_floor, over_ours = ratio("ours", "floor"), ratio("plain", "ours")
    return Row(
        case.width,
        str(case.dtype).removeprefix("torch."),
        case.depth,
        rounds,
        **{name: statistics.median(each) for name, each in taken.items()},
        ours_over_floor=float(np.median(over_floor)),
        ours_over_floor_quartiles=quartiles(over_floor),
        ours_over_half=float(np.median(ratio("ours", "half"))),
        plain_over_ours=float(np.median(over_ours)),
        plain_over_ours_quartiles=quartiles(over_ours),
    )


def operator_norm(width: int, rounds: int) -> list[float]:
    """Seconds of one layer's exact largest singular value, in float64."""
    draws = stream(0, "bench norm").standard_normal((1, width, width))
    weight = torch.from_numpy(draws).to(DEVICE)
    largest_singular_value(weight)
    return [seconds(lambda: largest_singular_value(weight)) for _ in range(rounds)]


HEAD = (
    "width  dtype    depth   n     ours    plain    floor     half   "
    "ours/floor  (quartiles)   ours/half   plain/ours  (quartiles)"
)


def line(row: Row) -> str:
    low, high = row.ours_over_floor_quartiles
    least, most = row.plain_over_ours_quartiles
    return (
        f"{row.width:5}  {row.dtype:7}  {row.depth:5}  {row.n:2}  "
        f"{row.ours:7.3f}  {row.plain:7.3f}  {row.floor:7.3f}  {row.half:7.3f}   "
        f"{row.ours_over_floor:10.2f}  ({low:.2f}-{high:.2f})   {row.ours_over_half:9.2f}   "
        f"{row.plain_over_ours:10.2f}  ({least:.2f}-{most:.2f})"
    )


def write_csv(path: str, rows: Sequence[Row]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*vars(rows[0]), "device", "threads", "torch"])
        for row in rows:
            values = [
                f"{v[0]:.4g}-{v[1]:.4g}" if isinstance(v, tuple) else v for v in vars(row).values()
            ]
            writer.writerow([*values, device_name(), torch.get_num_threads(), torch.__version__])


def device_name() -> str:
    return "cpu" if DEVICE.type == "cpu" else torch.cuda.get_device_name(DEVICE)


def main() -> None:
    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=names, default="256,512,1024,2048")
    parser.add_argument("--depth", type=int, default=15)
    parser.add_argument("--wide-depth", type=int, default=5, help="of widths from 1,500 on")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtypes", type=names, default="float64,float32")
    parser.add_argument("--csv", help="a file for the same rows")
    asked = parser.parse_args()

    print(
        f"{device_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"batch {asked.batch}; seconds and ratios: medians over n interleaved rounds"
    )
    print(HEAD)
    rows = []
    widths = [int(width) for width in asked.widths]
    for width in widths:
        for dtype in asked.dtypes:
            depth = asked.depth if width < 1500 else min(asked.depth, asked.wide_depth)
            case = Case.of(width, depth, asked.batch, getattr(torch, dtype))
            rows.append(measure(case, asked.rounds))
            print(line(rows[-1]), flush=True)
    for width in widths:
        taken = operator_norm(width, 3)
        print(
            f"{width:5}  float64  operator norm: {statistics.median(taken):.3f} s a layer "
            f"({min(taken):.3f}-{max(taken):.3f}, n = {len(taken)})",
            flush=True,
        )
    if asked.csv:
        write_csv(asked.csv, rows)


if __name__ == "__main__":
    main()
