#!/usr/bin/env python
"""What shorter arithmetic does to a trained network's margins, and what it would have certified.

    python scripts/check_precision.py outputs/runs/train/RUN

The test set is certified in float64 with slack, and sent through the same network in float32 and
under bfloat16 autocast.  For each: how far the margins move, how many scores tie exactly, how many
points it would have certified (margin over constant, no slack, the proven constants) that are not
certified, and how many the other way round.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from lipexp import data
from lipexp.certification import certify, margin_constants
from lipexp.certification.radii import margins
from lipexp.config import Request
from lipexp.errors import UserError
from lipexp.rationals import limit
from lipexp.runs.load import load, request_of

BATCH = 500


def scores_in(network: nn.Module, test: data.Split, dtype: torch.dtype) -> Tensor:
    """Scores as training computes them: float32 throughout, or products in bfloat16."""
    short = dtype == torch.bfloat16
    context = torch.autocast("cpu", torch.bfloat16) if short else nullcontext()
    rows = []
    with torch.no_grad(), context:
        for start in range(0, len(test), BATCH):
            pixels = torch.from_numpy(test.pixels(slice(start, start + BATCH))).float()
            rows.append(network(pixels).double())
    return torch.cat(rows)


def report(network: nn.Module, dataset: data.Dataset, request: Request) -> None:
    test, box = dataset.test, len(dataset.shape) == 3
    eps = list(request.task["eps"])
    table = certify(network, test.inputs, test.labels, eps, scale=test.scale, box=box)
    true = torch.tensor(table["margin"].tolist(), dtype=torch.float64)
    slack = table["slack"]
    totals = table.attrs
    print(
        f"{len(table):,} points, K = 1 {totals['lipschitz_excess']:+.1e}; slack: median "
        f"{slack.median():.1e}, largest {slack.max():.1e}, "
        f"{totals['points_inside_slack']} points inside it"
    )
    print(
        f"{'':9}  {'margins moved by':24}  {'exact':>6}  {'nearer to a tie':>16}  certified at eps"
    )
    print(f"{'':9}  {'median':>11}  {'largest':>11}  {'ties':>6}  {'than they moved':>16}  ")
    labels = torch.from_numpy(test.labels.astype("int64"))
    constants = margin_constants(network, totals["classes"])[labels]
    network = network.float()
    for dtype in (torch.float32, torch.bfloat16):
        short = margins(scores_in(network, test, dtype), labels)
        margin = short.amin(1)
        moved = (margin - true).abs()
        radius = (short / constants).amin(1)
        decided = []
        for name in eps:
            ours = torch.tensor(table[f"certified_{name}"].tolist())
            theirs = radius > limit(name)
            decided.append(
                f"{name}: {int((theirs & ~ours).sum())} wrongly, "
                f"{int((ours & ~theirs).sum())} missed"
            )
        print(
            f"{str(dtype).removeprefix('torch.'):9}  {moved.median():11.1e}  {moved.max():11.1e}  "
            f"{int((margin == 0).sum()):6}  {int((true.abs() <= moved).sum()):16}  "
            + "; ".join(decided)
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="folder of a training")
    options = parser.parse_args()
    started = time.perf_counter()
    torch.set_num_threads(1)
    try:
        network, request = load(options.run), request_of(options.run)
        dataset = data.load(request.dataset["name"], **request.group_keys("dataset"))
        report(network, dataset, request)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{time.perf_counter() - started:.1f} s, CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
