#!/usr/bin/env python
"""Training speed in images per second, as a table.

    python scripts/bench_train.py --cases mlp,lipconvnet --models aol,sll --rounds 5

ours      ``lipexp.training``: the set as one tensor on the device, augmentation in batches there
plain     the same loop, network and activations with unconstrained layers: what rescaling costs
          (residual SLL applies two products a layer where a plain layer applies one)
straight  the straightforward way: a torchvision data set of single images behind a DataLoader,
          layers by their textbook formula under autograd, ``loss.item()`` every step

One process, random pixels, Adam, float32; each round trains every way on the same number of images,
one after the other, so that a ratio compares neighbours in time.  Medians over the rounds with
their quartiles; the device is waited for; augmentation counts, evaluation does not.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lipexp.layers.base import FreeWeightModule, LipschitzAffine
from lipexp.layers.gram import gram_sums
from lipexp.networks import NETWORKS
from lipexp.networks.blueprint import Blueprint
from lipexp.training.examples import Examples
from lipexp.training.loop import Training
from lipexp.training.losses import offset_cross_entropy
from lipexp.training.recipe import Recipe

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPES = {"mlp": (1, 28, 28), "lipconvnet": (3, 32, 32)}
SIZES = {"mlp": (4, 512), "lipconvnet": (25, 16)}  # depth, width


@dataclass(frozen=True)
class Case:
    """One network and how it is fed."""

    network: str
    model: str
    batch: int
    steps: int

    @property
    def shape(self) -> tuple[int, ...]:
        return SHAPES[self.network]

    def build(self, model: str) -> nn.Module:
        residual = model == "sll"
        depth, width = SIZES[self.network]
        plan = Blueprint(
            model,
            depth,
            width,
            self.shape,
            classes=10,
            mean=(0.5,) * self.shape[0],
            activation="relu" if residual else "maxmin",
            between="maxmin" if self.network == "lipconvnet" else "identity",
            init="orthogonal",
            layer_keys={"rows": "auto"} if model == "aol" else {},
        )
        network = NETWORKS[self.network](plan, seed=0, dtype=torch.float32).to(DEVICE)
        return network

    def recipe(self) -> Recipe:
        augment = "crop_flip" if self.network == "lipconvnet" else "none"
        return Recipe(
            epochs=10**6, batch=self.batch, schedule="constant", lr=1e-4, offset=0.4,
            temperature=0.25, augment=augment,
        )  # fmt: skip

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(0)
        count = self.batch * self.steps
        images = generator.integers(0, 256, (count, *self.shape), dtype=np.uint8)
        return images, generator.integers(0, 10, count)


def loop(case: Case, model: str) -> Callable[[], float]:
    """Images per second of one epoch by ``lipexp.training``."""
    images, labels = (torch.from_numpy(a).to(DEVICE) for a in case.pixels())
    training = Training(case.build(model), case.recipe(), Examples(images, labels, 255.0), 0)
    return lambda: training.run_epoch().images_per_second


def textbook(network: nn.Module) -> nn.Module:
    """The same network with every weight rescaled by the definition, under plain autograd."""

    def rescaled(layer) -> Tensor:
        v = layer.weight.transpose(0, 1) if layer.rows else layer.weight
        d = gram_sums(v).rsqrt()
        w = v * d.reshape(1, -1, *([1] * (v.dim() - 2)))
        return w.transpose(0, 1) if layer.rows else w

    def residual(layer, x: Tensor) -> Tensor:
        k = layer.weight
        t = 1 / gram_sums(k.transpose(0, 1), layer.log_q)
        if k.dim() == 2:
            return x - 2 * F.linear(t * F.linear(x, k, layer.bias).relu(), k.mT)
        pad = k.shape[2] // 2
        hidden = F.conv2d(x, k, layer.bias, padding=pad).relu() * t[:, None, None]
        return x - 2 * F.conv_transpose2d(hidden, k, padding=pad)

    for layer in network.modules():
        if isinstance(layer, LipschitzAffine):
            layer.effective_weight = lambda layer=layer: rescaled(layer)
        elif isinstance(layer, FreeWeightModule):
            layer.forward = lambda x, layer=layer: residual(layer, x)
    return network


def straight(case: Case) -> Callable[[], float]:
    """Images per second of what one would write first."""
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms
    from torchvision.transforms.functional import to_pil_image

    images, labels = case.pixels()
    steps = [transforms.ToTensor()]
    if case.network == "lipconvnet":
        side = case.shape[-1]
        steps = [transforms.RandomCrop(side, 4), transforms.RandomHorizontalFlip(), *steps]
    transform = transforms.Compose(steps)
    pictures = [to_pil_image(torch.from_numpy(image)) for image in images]

    class Pictures(Dataset):
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, index: int):
            return transform(pictures[index]), int(labels[index])

    loader = DataLoader(Pictures(), case.batch, shuffle=True)
    network, recipe = textbook(case.build(case.model)), case.recipe()
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr)

    def epoch() -> float:
        began = time.perf_counter()
        for x, y in loader:
            scores = network(x.to(DEVICE))
            loss = offset_cross_entropy(scores, y.to(DEVICE), recipe.offset, recipe.temperature)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        return len(pictures) / (time.perf_counter() - began)

    return epoch


@torch.no_grad()
def compared(case: Case) -> float:
    """Largest difference between the scores of ours and of the textbook network."""
    ours, theirs = case.build(case.model), textbook(case.build(case.model))
    x = torch.rand(8, *case.shape, device=DEVICE)
    return float((ours.eval()(x) - theirs.eval()(x)).abs().max())


def spread(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def measure(case: Case, rounds: int) -> dict[str, float | str | int]:
    difference = compared(case)
    if not difference < 1e-4:
        raise SystemExit(f"{case}: the textbook network differs by {difference:.1e}")
    ways = {
        "ours": loop(case, case.model),
        "plain": loop(case, "linear"),
        "straight": straight(case),
    }
    for way in ways.values():
        way()
    found = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    pairs = zip(found["ours"], found["plain"], found["straight"], strict=True)
    of_plain, of_straight = map(list, zip(*((a / b, a / c) for a, b, c in pairs), strict=True))
    row: dict[str, float | str | int] = {
        "network": case.network, "model": case.model, "batch": case.batch, "n": rounds,
        **{name: statistics.median(values) for name, values in found.items()},
    }  # fmt: skip
    for name, values in (("ours/plain", of_plain), ("ours/straight", of_straight)):
        low, middle, high = spread(values)
        row |= {name: middle, f"{name} low": low, f"{name} high": high}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default="mlp,lipconvnet")
    parser.add_argument("--models", default="aol,sll")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=0, help="a round; 0: 40 (mlp), 2 (lipconvnet)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", help="a file for the same rows")
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "cpu"
    print(
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32; images/s"
    )
    print(
        f"{'network':<11}{'model':<6}{'batch':>6}{'n':>3}{'ours':>10}{'plain':>10}{'straight':>10}"
        f"{'ours/plain':>12}{'':15}{'ours/straight':>14}"
    )
    rows = []
    for network in options.cases.split(","):
        for model in options.models.split(","):
            steps = options.steps or (40 if network == "mlp" else 2)
            case = Case(network, model, options.batch, steps)
            row = measure(case, options.rounds)
            rows.append(row)
            print(
                f"{network:<11}{model:<6}{row['batch']:>6}{row['n']:>3}{row['ours']:>10,.0f}"
                f"{row['plain']:>10,.0f}{row['straight']:>10,.0f}{row['ours/plain']:>12.2f}"
                f"  ({row['ours/plain low']:.2f}-{row['ours/plain high']:.2f})"
                f"{row['ours/straight']:>14.2f}"
                f"  ({row['ours/straight low']:.2f}-{row['ours/straight high']:.2f})",
                flush=True,
            )
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
