"""Variance of dL/dx_l against l under a bias N(0, 1) that all layers share.

The bias reaches the gradient through the masks alone: with fresh matrices the rate is that of zero
bias.  The product of cotangent and signal is no longer conserved, so ones do not grow as they do
at zero bias: this must be the lower of the paper's two curves.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from lipexp.figures.figure import Check, Context, PaperFigure, Setting, Tables
from lipexp.figures.gradient_variance import SETTINGS as OF_ZERO_BIAS
from lipexp.figures.gradient_variance import picture, printed_checks, quotient_check, ratios
from lipexp.figures.gradients import descended

SETTINGS = {size: {**setting, "bias": "normal"} for size, setting in OF_ZERO_BIAS.items()}
PRINTED = {2: 6e-27}


def measure(setting: Setting, context: Context) -> Tables:
    """``variance`` and ``histograms``; the column of the law is for zero bias."""
    tables = dict(descended(setting, context))
    tables["variance"] = tables["variance"].drop(columns="law")
    return tables


def draw(tables: Tables, setting: Setting) -> Figure:
    title = "Variance of the gradient dL/dx_l, AOL, relu, bias N(0, 1)"
    return picture(tables["variance"], setting, title, PRINTED)


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table, width = tables["variance"], setting["width"]
    n = f"{setting['networks']} networks, {setting['inputs']} inputs each"
    found = printed_checks(table, setting, PRINTED, "bias N(0, 1), shared, ones")
    steps = setting["depth"] - 1
    for (matrices, cotangent), (mean, error) in ratios(table, setting, 2).items():
        # Backward the bias acts through the masks alone, and a Gaussian cotangent does not see it.
        law = 1.0 if (matrices, cotangent) == ("fresh", "gaussian") else None
        what = f"variance of dL/dx_2 / g^{steps}, bias N(0, 1): {matrices} matrices, {cotangent}, "
        check = Check(what + f"width {width}", law, mean, error, n, approximate=0.02)
        found.append(check)
    shared, fresh = (ratios(table, setting, 2)[case, "ones"] for case in ("shared", "fresh"))
    what = "bias N(0, 1), l = 2: shared matrices by fresh, ones"
    found.append(quotient_check(what, shared, fresh, n, erratum=4))
    return found


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
