"""What the reports of all tasks share: the headline numbers of a finished run, and its words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lipexp.data import input_word


def read_summary(folder: Path) -> dict[str, Any] | None:
    """summary.json of a finished run; None where it is not finished."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return summary if isinstance(summary, dict) else None


def round_numbers(last: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, ... below ``last``, and ``last``: of layers or epochs, those to show."""
    steps = (digit * 10**power for power in range(len(str(last))) for digit in (1, 2, 5))
    return [*(step for step in steps if step < last), last]


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}" + "s" * (count != 1)


def excess(bound: float) -> str:
    """A Lipschitz bound as 1 + its excess where it is all but 1."""
    return f"1 + {bound - 1:.1e}" if 1 < bound < 1.001 else f"{bound:.6g}"


def data_name(summary: Mapping[str, Any]) -> str:
    """The data set, and what is to be known of it."""
    if summary["dataset_verified"]:
        return summary["dataset"]
    fingerprint = summary["dataset_fingerprint"]
    return f"{summary['dataset']} (not the published files: fingerprint {fingerprint})"


def measured_over(dataset: str) -> str:
    """What the norm of an input is taken over: images are pixels, other sets are tables."""
    return "pixels in [0, 1]" if input_word(dataset) == "image" else "standardised features"
