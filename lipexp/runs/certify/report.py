"""What a certification tells: its headline numbers, its figures, and what must never be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from lipexp import __version__
from lipexp.data import input_word
from lipexp.files import write_bytes
from lipexp.rationals import value
from lipexp.runs.certify.attacks import CLOSEST, INSIDE, proven, share_left, within
from lipexp.runs.certify.digest import BROKEN, CERTIFIED, IDENTITY, SUCCESSES
from lipexp.runs.certify.task import Certification, Found
from lipexp.runs.device import device_name
from lipexp.runs.headlines import certificate_numbers
from lipexp.runs.plan import describe
from lipexp.runs.provenance import commit, provenance
from lipexp.runs.summary import measured_over, plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 10  # inputs in a line
ATTACKED = "attacked_accuracy_"
SAVED = ("index", "label", "margin", "slack", "radius", "radius_tight")


def table_of(found: Found, eps: Sequence[str]) -> pd.DataFrame:
    """certificates.csv with what attacks found: empty for what was not attacked.

    attack_distance: of the nearest input found that has another class, 0 for misclassified ones,
    infinite where none was found; broken_<eps>: it is at most eps.
    """
    table = found.table.copy()
    nearest = found.attacked["nearest"].numpy()
    distance = np.full(len(table), np.nan)
    distance[: found.count] = nearest
    table["attack_distance"] = distance
    for name in eps:
        column = pd.array([pd.NA] * len(table), dtype="boolean")
        column[: found.count] = nearest <= within(value(name))
        table[f"{BROKEN}{name}"] = column
    return table


def successes(table: pd.DataFrame, found: Found, eps: Sequence[str]) -> dict[str, np.ndarray]:
    """By ball, (count,) bool: attacks that succeeded inside a proven radius.

    Read off the table that is written: whatever is certified at eps is not broken there, what is
    not broken is classified rightly, and nothing is broken inside its own radius.
    """
    rows = table.iloc[: found.count]
    right = (rows["margin"] > 0).to_numpy()
    distance = rows["attack_distance"].to_numpy()
    wrong = {INSIDE: right & (distance < proven(rows).numpy())}
    for name in eps:
        certified = rows[f"{CERTIFIED}{name}"].to_numpy(dtype=bool)
        broken = rows[f"{BROKEN}{name}"].to_numpy(dtype=bool)
        wrong[name] = (certified & broken) | (~broken & ~right)
    return wrong


def numbers(
    job: Certification, table: pd.DataFrame, found: Found, identity: str, seconds: float
) -> dict[str, Any]:
    """What certify adds to summary.json."""
    eps, attacks = job.asked.eps, job.asked.attacks
    rows, wrong = table.iloc[: found.count], successes(table, found, eps)
    tries = int(found.attacked[f"{INSIDE} tries"].sum())
    for name in eps:
        certified = rows[f"{CERTIFIED}{name}"].to_numpy(dtype=bool)
        tries += int(found.attacked[f"{name} tries"].numpy()[certified].sum())
    images = np.flatnonzero(np.any(list(wrong.values()), axis=0)).tolist()
    return {
        **certificate_numbers(table, job.asked.certified_eps),
        "lipschitz_upper_bound_tight": table.attrs["lipschitz_upper_bound_tight"],
        **{f"{ATTACKED}{name}": 1 - float(rows[f"{BROKEN}{name}"].mean()) for name in eps},
        "attack_successes_inside_radius": sum(int(mask.sum()) for mask in wrong.values()),
        "attacks_inside_radius": tries,
        "lipschitz_lower_bound": float(found.lipschitz.max()),
        "attack_broken_images": _some(images),
        "attack_points": found.count,
        "attack_steps": attacks.steps,
        "attack_restarts": attacks.restarts,
        "attack_seed": attacks.seed,
        IDENTITY: identity,
        "certify_device": device_name(job.device),
        "certify_version": __version__,
        "certify_commit": commit(),
        "certify_seconds": round(seconds, 3),
    }


def _some(images: list[int]) -> str:
    more = f" and {len(images) - NAMED:,} more" if len(images) > NAMED else ""
    return ", ".join(map(str, images[:NAMED])) + more


def summary_of(job: Certification, before: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """A run's summary with what was added, or that of weights from elsewhere."""
    if not job.asked.foreign:
        stale = (ATTACKED, "cra_")
        kept = {key: v for key, v in before.items() if not key.startswith(stale)}
        return {**kept, **added}
    return {
        "task": "certify",
        "weights": str(job.asked.weights),
        "weights_sha256": job.asked.weights_digest,
        "parameters": job.parameters,
        **added,
        **provenance(job.dataset, "float64", job.device),
    }


def figures(job: Certification, table: pd.DataFrame, found: Found) -> dict[str, Figure]:
    """By name, of the tables of a certification."""
    from lipexp.plots import attacks as of_attacks
    from lipexp.plots import certificates as of_certificates

    request, eps, attacks = job.asked.request, job.asked.certified_eps, job.asked.attacks
    title, dataset = describe(request), request.dataset["name"]
    word, over = input_word(dataset), measured_over(dataset)
    if job.asked.foreign:
        title += f"; weights of {job.asked.weights.name}"
    where = f"float64, {device_name(job.device)}"
    tested = f"{plural(len(table), f'test {word}')}, certified in {where}"
    how = f"{plural(attacks.restarts, 'restart')} of {plural(attacks.steps, 'step')}, {where}"
    which = "all" if found.count == len(table) else "the first"
    first = f"{which} {plural(found.count, f'test {word}')}, {how}"
    made = {
        draw.__name__: draw(table, eps, title, over, tested, word)
        for draw in (of_certificates.certified_accuracy, of_certificates.radius_histogram)
    }
    made["attacked_accuracy"] = of_attacks.attacked_accuracy(
        table, job.asked.eps, title, over, first, word
    )
    rows, points = _closest(job, found)
    if len(rows):
        draw = of_attacks.closest_images if job.box else of_attacks.closest_rows
        inputs = _inputs(job, rows["index"])
        made["closest_to_breaking"] = draw(rows, inputs.numpy(), points.numpy(), title, first)
    return made


def _closest(job: Certification, found: Found) -> tuple[pd.DataFrame, Tensor]:
    """The CLOSEST points attacked inside the proven radius that kept the least of their margin.

    Columns: index, label, other (the class that comes nearest), margin, attacked_margin, distance.
    """
    attacked, which = found.attacked, found.attacked["which"]
    left = share_left(attacked[f"{INSIDE} margin"], found.table.iloc[: found.count])[which]
    order = left.argsort(stable=True)[:CLOSEST]
    which, points = which[order], attacked["points"][order]
    rows = found.table.iloc[which.numpy()][["index", "label", "margin"]].reset_index(drop=True)
    rows["attacked_margin"] = attacked[f"{INSIDE} margin"][which].numpy()
    rows["distance"] = attacked[f"{INSIDE} distance"][which].numpy()
    if len(which):
        scores = job.scores(points)
        labels = torch.tensor(rows["label"])[:, None]
        rows["other"] = scores.scatter(1, labels, -torch.inf).argmax(1).numpy()
    return rows, points


def _inputs(job: Certification, indices: Iterable[int]) -> Tensor:
    return torch.cat([job.points.batch(k, k + 1) for k in indices])


def save_successes(job: Certification, found: Found, folder: Path) -> None:
    """Inputs that broke what was proven, for whoever looks for the mistake; mostly none."""
    which, points = found.attacked["wrong which"], found.attacked["wrong points"]
    if not len(which):
        (folder / SUCCESSES).unlink(missing_ok=True)
        return
    rows = found.table.iloc[which.numpy()]
    columns = {name: torch.tensor(rows[name].to_numpy()) for name in rows if name in SAVED}
    inputs = _inputs(job, which.tolist())
    tensors = {**columns, "inputs": inputs, "broken": points.contiguous()}
    tensors["distance"] = found.attacked["nearest"][which]
    write_bytes(to_bytes(tensors), folder / SUCCESSES)
