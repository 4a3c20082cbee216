"""Covertype: accuracy against depth under three bias modes, and of a plain network.

In print deep networks end at the share of the commonest class, 48.69 %, whatever the bias; the law
says why: at depth 30 and width 64 the signal has lost 35 decades, and Adam's epsilon is above the
gradients.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lipexp.figures.figure import LATER, Check, Context, PaperFigure, Setting, Tables
from lipexp.figures.training_pictures import HOW, START, VARIANCE, against_depth
from lipexp.figures.trainings import PLAIN, data_named, data_of, over_seeds, said, starts, sweep
from lipexp.runs.summary import plural

# name: keys of the layer, and bias
CASES: dict[str, dict[str, Any]] = {
    "SLL, zero bias": {"model": "sll_feedforward", "init": "normal", "bias": "zero"},
    "SLL, default bias": {"model": "sll_feedforward", "init": "normal", "bias": "default"},
    "SLL, corrected bias": {"model": "sll_feedforward", "init": "normal", "bias": "corrected"},
    "plain MLP": {"model": "linear", "init": "kaiming_uniform", "bias": "default"},
}
# per cent, 25 epochs, mean over 10 seeds, and standard deviation
IN_PRINT = {
    ("SLL, zero bias", 5): (73.24, 0.12),
    ("SLL, default bias", 5): (73.28, 0.19),
    ("SLL, corrected bias", 5): (73.38, 0.19),
    ("SLL, zero bias", 15): (71.82, 0.79),
    ("SLL, default bias", 15): (71.69, 0.85),
    ("SLL, corrected bias", 15): (68.14, 6.87),
    ("SLL, zero bias", 30): (57.66, 11.58),
    ("SLL, default bias", 30): (48.69, 0.0),
    ("SLL, corrected bias", 30): (48.69, 0.0),
}
COMMONEST_IN_PRINT = 48.69

_SMALL = {"depths": [5, 15, 30], "width": 64, "batch": 64, "epochs": 1, "seeds": [0]}
SETTINGS = {"small": _SMALL, "paper": {**_SMALL, "epochs": 25, "seeds": list(range(10))}}


def measure(setting: Setting, context: Context) -> Tables:
    """``trained``: a row per (case, depth, seed), see `lipexp.figures.trainings.results`."""
    points = [
        ({"case": case, "depth": depth, "seed": seed}, _keys(case, depth, seed, setting))
        for case in CASES
        for depth in setting["depths"]
        for seed in setting["seeds"]
    ]
    return {"trained": sweep(points, data_of("covertype"), context)}


def _keys(case: str, depth: int, seed: int, setting: Setting) -> dict[str, Any]:
    return {
        **PLAIN,
        **CASES[case],
        "activation": "relu",
        "depth": depth,
        "width": setting["width"],
        "batch": setting["batch"],
        "task.epochs": setting["epochs"],
        "task.eps": [0.1],
        "seed": seed,
        **({"model.rows": False} if CASES[case]["model"] == "sll_feedforward" else {}),
    }


def draw(tables: Tables, setting: Setting) -> Figure:
    printed = pd.DataFrame(
        [
            {"case": case, "depth": depth, "column": "test_accuracy", "value": value}
            for (case, depth), (value, _) in IN_PRINT.items()
        ]
    )
    table = tables["trained"]
    note = f"{plural(setting['epochs'], 'epoch')}, Adam 1e-3, batch {setting['batch']}, relu, "
    note += f"{plural(len(setting['seeds']), 'seed')}; in print: 25 epochs, 10 seeds. {HOW} "
    note += f"Data: {data_named(table)}"
    return against_depth(
        table,
        f"Covertype, width {setting['width']}: accuracy and signal at the start",
        note,
        by="case",
        columns=("test_accuracy", VARIANCE),
        labels=("accuracy, %", START),
        printed=printed,
    )


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table = tables["trained"]
    whole = _is_whole(setting)
    commonest = 100 * float(table["commonest"].iloc[0])
    images = f"{table['test_images'].iloc[0]:,} test rows"
    what = "Covertype: share of the commonest class, %"
    published = "not the published" not in table["data"].iloc[0]
    note = "" if published else "of another set of rows than the published one"
    found = [Check(what, None, commonest, None, images, COMMONEST_IN_PRINT, LATER, note=note)]
    for row in over_seeds(table, ["case", "depth"], "test_accuracy").itertuples():
        what = f"Covertype, {row.case}, depth {row.depth}: accuracy, %"
        ours, error = 100 * row.mean, None if pd.isna(row.error) else 100 * row.error
        n = f"{plural(len(setting['seeds']), 'seed')}, {plural(setting['epochs'], 'epoch')}"
        value, spread = IN_PRINT.get((row.case, row.depth), (None, 0.0))
        if value is None or whole:
            draw_ = spread / value / 10**0.5 if value else 0.0
            source = LATER if value else ""
            found.append(Check(what, None, ours, error, n, value, source, draw=draw_))
            continue
        after = f"after {plural(setting['epochs'], 'epoch')} instead of 25: {ours:.2f}"
        here = table[(table["case"] == row.case) & (table["depth"] == row.depth)]
        if (here["predicted_commonest"] == 1).all():
            after += ", all rows given to one class"
        found.append(Check(what, None, None, None, n, value, LATER, note=after))
    return [*found, *_remedy(table, setting)]


def _remedy(table: pd.DataFrame, setting: Setting) -> list[Check]:
    """Corrected less zero bias at the largest depth: nothing is gained.

    It bears on the error in print after as many epochs as there: before, nothing may have been
    learnt with any bias.
    """
    depth = max(setting["depths"])
    at = table[table["depth"] == depth].set_index(["case", "seed"])["test_accuracy"]
    gain = at.loc["SLL, corrected bias"] - at.loc["SLL, zero bias"]
    mean = 100 * float(gain.mean())
    error = 100 * float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else None
    what = f"Covertype, depth {depth}: accuracy with corrected less that with zero bias, points"
    n = f"{plural(len(gain), 'seed')}, {plural(setting['epochs'], 'epoch')}"
    shows = mean - 3 * (error or 0.0) < 1.0
    if not _is_whole(setting):
        return [Check(what, None, mean + 0.0, error, n)]
    return [Check(what, None, mean + 0.0, error, n, erratum=9, shows=bool(shows))]


def _is_whole(setting: Setting) -> bool:
    """Whether it is trained as long as in print."""
    return setting["epochs"] == SETTINGS["paper"]["epochs"]


def words(tables: Tables, setting: Setting) -> list[str]:
    table = tables["trained"]
    deep = table[table["depth"] == max(setting["depths"])]
    escaped = [
        f"{row.case} ({100 * row.test_accuracy:.2f} %)"
        for row in deep.itertuples()
        if row.test_accuracy > row.commonest + 0.005
    ]
    return [
        said(table),
        f"The commonest class has {100 * table['commonest'].iloc[0]:.2f} % of the test rows. At "
        f"depth {max(setting['depths'])} what escapes it: {', '.join(escaped) or 'nothing'}. "
        "The layer is feedforward SLL with columns rescaled and q = 1 at the start, trainable, as "
        "the papers' text and their later code have it.",
        starts(table, ["case", "depth"]),
    ]


FIGURE = PaperFigure(SETTINGS, measure, draw, checks, words)
