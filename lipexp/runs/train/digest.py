"""A finished training in a screenful, read from its folder with the standard library alone."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lipexp.config import Request
from lipexp.data import input_word
from lipexp.rationals import limit
from lipexp.runs.aligned import Column, aligned
from lipexp.runs.certify.digest import attacks_line
from lipexp.runs.summary import (
    data_name,
    excess,
    measured_over,
    plural,
    read_summary,
    round_numbers,
)


def shares(path: Path, eps: Sequence[str], rows: int) -> dict[str, float]:
    """Certified robust accuracy at any radii, of the radii that stand in certificates.csv.

    A radius is 0 where the label's score is not the highest.  Raises ValueError where there are
    not so many rows.
    """
    limits = {name: limit(name) for name in eps}
    counts, total = dict.fromkeys(limits, 0), 0
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            total += 1
            radius = float(row["radius"])
            for name, least in limits.items():
                counts[name] += radius > least
    if total != rows:
        raise ValueError(f"{path} has {total} rows of {rows}")
    return {name: count / total for name, count in counts.items()}


def _epochs_table(path: Path, word: str) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shown = set(round_numbers(len(rows)))
    cra = [key for key in rows[0] if key.startswith("estimated_cra_")]
    per_cent = {"train_accuracy": "train %", "test_accuracy": "test %"}
    if "validation_accuracy" in rows[0]:
        per_cent["validation_accuracy"] = "validation %"
    per_cent |= {key: f"~CRA@{key.removeprefix('estimated_cra_')} %" for key in cra}
    heads = ["epoch", "loss", *per_cent.values(), f"{word}s/s"]
    body = [
        [
            row["epoch"],
            f"{float(row['train_loss']):.4f}",
            *(f"{100 * float(row[k]):.2f}" for k in per_cent),
            f"{float(row['images_per_second']):,.0f}",
        ]
        for row in rows
        if int(row["epoch"]) in shown
    ]
    columns = zip(heads, zip(*body, strict=True), strict=True)
    return aligned([Column(heading, list(cells)) for heading, cells in columns])


def _other_eps(request: Request, summary: Mapping[str, Any]) -> list[str]:
    made = [key.removeprefix("cra_") for key in summary if key.startswith("cra_")]
    if set(made) >= set(request.task["eps"]):
        return []
    return [f"files and plots are of the eps of that run: {', '.join(made)}"]


def digest(request: Request, *, notes: Sequence[str] = ()) -> str:
    """What is printed of a finished training; shares are those at the radii asked for now."""
    folder = request.folder
    summary = read_summary(folder)
    certified = shares(folder / "certificates.csv", request.task["eps"], summary["test_images"])
    cra = "".join(f", CRA@{name} {100 * share:.2f} %" for name, share in certified.items())
    word = input_word(summary["dataset"])
    count = f"{summary['train_images']:,} training {word}s"
    task = request.task
    lines = [
        summary["name"],
        f"{count} of {data_name(summary)}, {plural(task['epochs'], 'epoch')} of {task['optimizer']}"
        f" (lr {task['lr']:g}, {task['schedule']}, batch {request.batch}, offset "
        f"{task['loss']['offset']:g}, augment {task['augment']})",
        f"{summary['parameters']:,} parameters, {summary['dtype']}, {summary['device']}, "
        f"{summary['training_seconds']:.1f} s of training, "
        f"{summary['images_per_second']:,.0f} {word}s/s",
        "",
        *_epochs_table(folder / "metrics.csv", word),
        "~: estimated in training precision, without slack; what follows is proven, in float64",
        "",
        f"{plural(summary['test_images'], f'test {word}')}, "
        f"K <= {excess(summary['lipschitz_upper_bound'])}, "
        f"accuracy {100 * summary['test_accuracy']:.2f} %{cra}",
        f"largest slack {summary['largest_slack']:.1e}, "
        f"{plural(summary['points_inside_slack'], word)} inside it; "
        f"median radius of the right ones {summary['median_radius'] or 0:.4g} "
        f"(l2, {measured_over(summary['dataset'])})",
        *_other_eps(request, summary),
        *attacks_line(folder, summary),
        *notes,
    ]
    if summary.get("warning"):
        lines += ["", f"warning: {summary['warning']}"]
    lines += ["", f"files: {folder}"]
    return "\n".join(lines)
