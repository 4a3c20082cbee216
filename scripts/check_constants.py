#!/usr/bin/env python
"""Proven constants against exact ones, on networks drawn at random and on families that are tight.

    python scripts/check_constants.py --networks 500 --seed 0

Exact: the largest norm of all products of Jacobians, every pattern of slopes of activations and
residual blocks taken, by singular values of dense matrices (1e-13 is what they may be off).  The
networks: every layer and convolution, activation and head, weights of scales 1e-8..1e8 with columns
of other scales, zero and double rows, log q up to 700, biases to 2^60.  Of each an input is brought
to a near tie, and what is certified there is compared with scores in rational numbers.  The exit
status is 1 where a constant is above its bound, a tight family more than 1e-9 below, or a wrong
class is certified.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lipexp.activations import ACTIVATIONS
from lipexp.certification import certify, lipschitz_bound
from lipexp.errors import UserError
from lipexp.layers import AOLConv2d
from lipexp.layers.base import LipschitzAffine
from tests.certification.drawn_networks import drawn_convnet, drawn_mlp, linear
from tests.certification.test_network_constants import wild
from tests.exact import (
    ORACLE,
    branch_matrices,
    dense_matrix,
    exact_norm,
    exact_scores,
    jacobians,
    norms,
    worst_slopes,
)
from tests.strategies import make_layer

TIGHT = 1e-9


def drawn(generator: np.random.Generator) -> tuple[nn.Sequential, tuple[int, ...]]:
    """A network of any kind and the shape of its inputs."""

    def bias(shape):
        return generator.standard_normal(shape) * 2.0 ** generator.integers(0, 61)

    def weight(shape):
        return wild(generator, shape)

    if generator.integers(3):
        return drawn_mlp(generator, weight, bias, list(ACTIVATIONS))
    sides = {"sides": (1, 2, 3), "most": 8}
    return drawn_convnet(generator, weight, bias, list(ACTIVATIONS), **sides)


def near_tie(net: nn.Sequential, shape: tuple[int, ...], generator) -> tuple[bool, bool] | None:
    """(certified, wrong) of an input whose scores 0 and 1 are within roundings of each other.

    None where the network has no exact scores or its head no bias.
    """
    head = next((m for m in reversed(net) if isinstance(m, LipschitzAffine)), None)
    if head is None or head.bias is None or any(type(m).__name__ == "Tanh" for m in net.modules()):
        return None
    x = torch.from_numpy(generator.random((1, *shape)))
    with torch.no_grad():
        scores = net(x)[0]
        head.bias[0] += scores[1] - scores[0]
        head.bias[0] += (
            float(head.bias[0].abs())
            * 2.0 ** generator.integers(-52, -30)
            * int(generator.integers(-3, 4))
        )
        head.bias[2:] -= 1e6 * float(scores.abs().max())  # out of the way
    exact = exact_scores(net, x[0])
    try:
        table = certify(net, x, [0], [])
    except UserError:
        return None
    certified = bool(table["radius_tight"][0] > 0)
    margin = exact[0] - max(exact[1:])
    slack = Fraction(float(table["slack"][0]))
    off = abs(margin - Fraction(float(table["margin"][0]))) > slack
    return certified, (certified and margin <= 0) or off


def random_networks(count: int, seed: int) -> bool:
    ratios, decided, kinds = [], Counter(), Counter()
    right = True
    for k in itertools.count():
        if len(ratios) == count:
            break
        generator = np.random.default_rng((seed, k))
        net, shape = drawn(generator)
        found = jacobians(net, shape)
        if found is None:
            continue
        exact = float(norms(found).max())
        bound = lipschitz_bound(net, tight=True)
        if exact > bound * (1 + ORACLE) or exact > lipschitz_bound(net) * (1 + ORACLE):
            print(f"network {k}: the constant {exact:.17g} is above the bound {bound:.17g}\n{net}")
            right = False
        ratios.append(bound / exact if exact > 0 else math.nan)
        kinds.update({type(module).__name__.removeprefix("Parametrized") for module in net})
        outcome = near_tie(net, shape, generator)
        if outcome is not None:
            decided.update(near_ties=1, certified=outcome[0])
            if outcome[1]:
                print(f"network {k}: a wrong certificate near a tie\n{net}")
                right = False
    finite = np.array([r for r in ratios if math.isfinite(r)])
    print(f"{count} networks; in how many: {', '.join(f'{n} {c}' for n, c in kinds.most_common())}")
    print(
        f"bound / exact: smallest 1 {finite.min() - 1:+.2e}, median {np.median(finite):.4f}, "
        f"largest {finite.max():.4g}; {count - len(finite)} of exact constant 0"
    )
    verdict = "none wrong" if right else "wrong: see above"
    print(
        f"near ties: {decided['near_ties']}, of which certified {decided['certified']}, {verdict}"
    )
    return right


def haar(generator, size: int) -> np.ndarray:
    q, r = np.linalg.qr(generator.standard_normal((size, size)))
    return q * np.sign(np.diag(r))


def tight_families(generator) -> Iterator[tuple[str, float, float]]:
    """(name, proven, exact) of layers and networks whose bound is attained."""
    for scale in (1e-8, 1.0, 1e8):
        orthogonal, positive = haar(generator, 6), generator.random((6, 5))
        rank_one = np.outer(generator.standard_normal(6), generator.standard_normal(5))
        for what, weight in (
            ("orthogonal", orthogonal), ("rank one", rank_one), ("nonnegative", positive)
        ):  # fmt: skip
            for name in ("aol", "sll_feedforward", "spectral", "linear"):
                layer = make_layer(name, {}, weight.shape[1], len(weight), weight * scale)
                exact = exact_norm(layer.effective_weight())
                yield f"{what}, {name}", lipschitz_bound(layer, tight=True), exact
        for kind in ("identity", "abs", "maxmin"):
            layers = [haar(generator, 4) * s for s in (scale, 1 / scale, 1.0)]
            net = nn.Sequential()
            for matrix in layers:
                net.extend((linear(matrix), ACTIVATIONS[kind]()))
            exact = float(norms(jacobians(net, (4,), most=2**13)).max())
            yield f"orthogonal network, {kind}", lipschitz_bound(net, tight=True), exact
        for side in (1, 3):
            conv = AOLConv2d(2, 3, side, padding_mode="circular", init=None, dtype=torch.float64)
            conv.fill(generator.random((3, 2, side, side)) * scale)
            exact = exact_norm(dense_matrix(lambda x, c=conv: c(x) - c(0 * x), (2, 4, 4)))
            yield f"nonnegative convolution, side {side}", lipschitz_bound(conv, tight=True), exact
    for q in ((1.0, 1.0, 1.0), (1.0, 2.0, 4.0)):
        block = make_layer("sll", {}, 3, 3, np.array([[1.0, 2, 0], [0, 1, -1], [3, 0, 1]]))
        with torch.no_grad():
            block.log_q.copy_(torch.tensor(q, dtype=torch.float64).log())
        exact = worst_slopes(*branch_matrices(block, (3,)))
        yield f"residual block N5, q = {q}", lipschitz_bound(block, tight=True), exact
    six = make_layer("aol", {}, 3, 4, np.array([[1.0, 2, 0], [0, 1, -1], [3, 0, 1], [1, 1, 1]]))
    yield "AOL N6", lipschitz_bound(six, tight=True), exact_norm(six.effective_weight())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    right = random_networks(options.networks, options.seed)
    worst: dict[str, float] = {}
    for name, proven, exact in tight_families(np.random.default_rng(options.seed)):
        excess = proven / exact - 1
        worst[name] = max(worst.get(name, -math.inf), excess)
        if not -ORACLE <= excess <= TIGHT:
            print(f"{name}: bound / exact - 1 = {excess:.2e}")
            right = False
    for name, excess in worst.items():
        print(f"{name:36} {excess:+.1e}")
    print(f"{time.perf_counter() - started:.0f} s, float64, CPU")
    return 0 if right else 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
