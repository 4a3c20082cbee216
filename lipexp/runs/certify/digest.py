"""A finished certification in one line, read from its folder with the standard library alone."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lipexp.data import input_word
from lipexp.rationals import limit, suffixes
from lipexp.runs.summary import excess, plural, read_summary

BROKEN, CERTIFIED = "broken_", "certified_"
IDENTITY = "certify_identity"  # in summary.json: of the request whose results stand there
SUCCESSES = "attack_successes.safetensors"  # the points of attacks that should not have succeeded


def digest(folder: Path) -> str:
    """What is printed of a finished certification: all of it in one line.

    Raises OSError, KeyError or ValueError for files that are not what they were.
    """
    summary = read_summary(folder)
    if summary is None:
        raise ValueError("there is no summary.json")
    count, right, certified = 0, 0, {}
    with (folder / "certificates.csv").open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        limits = {name: limit(name) for name in suffixes(rows.fieldnames or (), CERTIFIED)}
        certified = dict.fromkeys(limits, 0)
        for row in rows:
            count += 1
            right += float(row["margin"] or "nan") > 0
            for name, least in limits.items():
                certified[name] += float(row["radius"]) > least
    if count != summary["test_images"]:
        raise ValueError(f"certificates.csv has {count} rows of {summary['test_images']}")
    shares = "".join(f", CRA@{name} {100 * n / count:.2f} %" for name, n in certified.items())
    tested = f"test {input_word(summary['dataset'])}"
    bound = excess(summary["lipschitz_upper_bound"])
    return (
        f"{plural(count, tested)}, K <= {bound}, accuracy {100 * right / count:.2f} %"
        f"{shares}; {_attacked(folder, summary)}"
    )


def attacks_line(folder: Path, summary: Mapping[str, Any]) -> list[str]:
    """A line for the report of a training that was attacked; none for one that was not."""
    return [_attacked(folder, summary)] if "attacks_inside_radius" in summary else []


def _attacked(folder: Path, summary: Mapping[str, Any]) -> str:
    prefix = "attacked_accuracy_"
    stand = ", ".join(
        f"{100 * summary[prefix + name]:.2f} %{' stand' * (place == 0)} at {name}"
        for place, name in enumerate(suffixes(summary, prefix))
    )
    count = summary["attack_points"]
    which = "all" if count == summary["test_images"] else f"the first {count:,}"
    return (
        f"attacked ({which}): {stand}; Lipschitz constant >= "
        f"{summary['lipschitz_lower_bound']:.4f}; attacks inside radius: "
        f"{summary['attack_successes_inside_radius']:,} of {summary['attacks_inside_radius']:,}"
    )


def complaint(folder: Path, summary: Mapping[str, Any]) -> str:
    """What a certification found that cannot be if its certificates are right; mostly nothing."""
    found = []
    if summary["attack_successes_inside_radius"]:
        found.append(
            f"{plural(summary['attack_successes_inside_radius'], 'attack')} inside a proven radius "
            f"succeeded, on {input_word(summary['dataset'])} {summary['attack_broken_images']}; "
            f"the points are in {folder / SUCCESSES}"
        )
    lower, upper = summary["lipschitz_lower_bound"], summary["lipschitz_upper_bound_tight"]
    if lower > upper:
        found.append(f"a Lipschitz constant of {lower!r} was found above the bound {upper!r}")
    return f"THE CERTIFICATES ARE WRONG: {'; '.join(found)}" if found else ""
