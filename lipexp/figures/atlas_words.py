"""What the atlas says in paragraphs: how many, how far from the law, what carries, and answers."""

from __future__ import annotations

import pandas as pd

from lipexp.activations import ACTIVATIONS
from lipexp.figures.atlas_rates import DEEP, LARGEST_CHANGE, WAYS
from lipexp.figures.figure import STANDARD_ERRORS
from lipexp.runs.summary import plural
from lipexp.theory.weights import IID_INITS


def paragraphs(table: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """``table``: the atlas's rates; ``compared``: a row per combination and way beside its law."""
    found = [_counts(table, compared), _largest(compared)]
    for (width, bias), part in table.groupby(["width", "bias"], sort=False):
        found.append(_carried(part, width, bias))
    first = table[(table["width"] == table["width"].min()) & (table["bias"] == "zero")]
    return found + [answer for answer in _answers(first) if answer]


def _counts(table: pd.DataFrame, compared: pd.DataFrame) -> str:
    known, lawless = compared["law"].notna().sum(), int(compared["law"].isna().sum())
    parts = [plural(table[key].nunique(), word) for key, word in _SIZES.items()]
    return (
        f"**{len(table)} combinations** ({', '.join(parts)}; q=normal counts as a layer; "
        "residual layers with those activations that keep them 1-Lipschitz), forward and backward: "
        f"{known} rates have a law, {lawless} have none and are measured alone. "
        "gnd has beta = 1/2. The layer linear is not 1-Lipschitz. All rows are in "
        "`decay_atlas/rates.csv`."
    )


_SIZES = {
    "layer": "layer",
    "init": "init",
    "activation": "activation",
    "bias": "bias mode",
    "width": "width",
}


def _name(row) -> str:
    bias = "" if row.bias == "zero" else f", bias {row.bias}"
    return f"{row.layer}, {row.init}, {row.activation}{bias}, width {row.width}, {row.way}"


def _largest(compared: pd.DataFrame) -> str:
    known = compared[compared["deviation"].notna()]
    beyond = known[known["deviation"].abs() > STANDARD_ERRORS]
    worst = known.loc[known["deviation"].abs().idxmax()]
    text = f"**Largest deviation from a law: {worst.deviation:+.1f} standard errors** "
    text += f"({_name(worst)}: {worst.ours:.4f} ± {worst.error:.4f}, law {worst.law:.4f}). "
    if beyond.empty:
        return text + f"None is beyond {STANDARD_ERRORS:g}."
    text += f"Beyond {STANDARD_ERRORS:g}: {len(beyond)} rates, in the table below; "
    inits = sorted(set(beyond["init"]))
    others = known[~known["init"].isin(inits)]["deviation"].abs().max()
    return text + f"their inits: {', '.join(inits)}. With any other init at most {others:.1f}."


def _carried(table: pd.DataFrame, width: int, bias: str) -> str:
    chosen = table[table["carries"]]
    text = (
        f"**What carries a signal to depth {DEEP:,}** (width {width}, bias {bias}; signal and "
        f"gradient within {LARGEST_CHANGE:g} decades of their size): {len(chosen)} of {len(table)}"
        " combinations."
    )
    lines = []
    for layer, part in chosen.groupby("layer", sort=False):
        lines.append(f"- {layer}: {'; '.join(_by_activations(part))}.")
    return "\n".join([text, "", *lines]) if lines else text


def _by_activations(part: pd.DataFrame) -> list[str]:
    """Inits together that carry with the same activations."""
    together: dict[tuple[str, ...], list[str]] = {}
    for init, rows in part.groupby("init", sort=False):
        names = tuple(name for name in ACTIVATIONS if name in set(rows["activation"]))
        together.setdefault(names, []).append(init)
    return [f"{', '.join(inits)} with {', '.join(names)}" for names, inits in together.items()]


def _answers(table: pd.DataFrame) -> list[str]:
    """To what the paper leaves open; nothing where what it takes was not measured."""
    cells = table.set_index(["layer", "init", "activation"])[list(WAYS)]

    def of(layer: str, init: str, activation: str, way: str = "forward") -> float:
        return round(cells.loc[(layer, init, activation), way], 6) + 0.0

    try:
        relu = of("aol", "normal", "relu")
        by_name = [f"{n} {of('aol', 'normal', n):.3f}" for n in ACTIVATIONS]
        blocks = [
            f"{n} {of('sll', 'normal', n):.3f}" for n in ("relu", "leaky_relu", "identity", "tanh")
        ]
        iid = table[table["init"].isin(IID_INITS) & table["layer"].isin(["aol", "sll_feedforward"])]
        apart = (table["forward"] - table["backward"]).abs()
        lossy = of("aol", "orthogonal", "relu"), of("aol", "orthogonal", "maxmin")
        straight, back = of("sll", "normal", "relu"), of("sll", "normal", "relu", "backward")
        kept = of("sll", "orthogonal", "relu")
        down = of("aol", "normal", "relu", "backward")
    except KeyError:
        return []
    return [
        "*Other activations?* Under AOL with independent weights none carries: "
        f"{', '.join(by_name)} decades per layer. Those that keep norms save the relu's 0.30 and "
        f"nothing more; over all independent inits the slowest decay is {iid['forward'].max():.3f}."
        f" With orthogonal weights: relu {lossy[0]:.3f}, maxmin {lossy[1]:.3f}.",
        f"*Residual layers?* They decay more slowly, not never: {', '.join(blocks)} with normal "
        f"weights (AOL with relu {relu:.3f}), and {kept:.3f} with orthogonal weights and relu.",
        f"*The way back?* Gradients decay as signals do: {down:.3f} backward against {relu:.3f} "
        f"forward for AOL, normal, relu; {back:.3f} against {straight:.3f} for residual SLL; over "
        f"all combinations the two differ by {apart.median():.4f} in the median.",
    ]
