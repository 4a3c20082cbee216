"""REPORT.md and report.csv: what is printed, what is true, and how it was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from lipexp.figures import FIGURES
from lipexp.figures.errata import DECAY, ERRATA, LDLT, REPOSITORY
from lipexp.figures.figure import Check
from lipexp.figures.making import Made
from lipexp.files import write_table, write_text

PREFACE = f"""\
# The decay paper, measured anew

Two papers on signals in 1-Lipschitz networks at initialisation:

- {DECAY}, “1-Lipschitz Network Initialization for Certifiably Robust Classification Applications:
  A Decay Problem”;
- {LDLT}, “LDLT L-Lipschitz Network Weight Parameterization Initialization”.

Each number of theirs that is known here stands beside the law and a measurement. Made by
`lipexp figures --all`; every figure's tables, picture and settings are in the folder of its name,
every row of this page is in `report.csv`.

**How a value of theirs is known.** *Printed*: in the papers' words. *Read off the plot*: by eye,
good to a tenth, off a picture in the authors' repository, {REPOSITORY}.
*Plotted formula*: what their script draws. *In the authors' later data*: files of their
repository's revision. The full text of the papers could not be read for this report, so a figure's
setting is its script's.

**Words.** *Law*: what is expected, exactly or to the accuracy that `lipexp.theory` states. *Ours*:
measured by this program, ± one standard error over n; *computed*: a formula's value. *Ratio*: ours
by theirs. A measurement contradicts a law where it is more than 5 standard errors off. *Typical*:
of the mean of the logarithm, which one network shows; the law in expectation is the logarithm of
the mean. *Size*: small runs in seconds on two CPU cores, paper has the papers' own sizes; what was
not run at their size says so, and is judged by its law.

**Symbols.** An AOL layer maps n inputs to d outputs by W = V diag(T)^(-1/2), T_j the sum over i of
the absolute values of (V^T V)_ij, so that W is 1-Lipschitz for every free matrix V. z_l is layer
l's output before its activation, x_l the input of layer l. q(d, n) = E W_ij^2 for Gaussian V, of
any scale; g = n q / 2 is what a square relu layer does to the second moment. An LDLT layer with
free matrix W0 is γ W0 (α I + W0^T W0)^(-1/2). Logarithms are base 10.
"""


def write_report(made: Sequence[Made], left_out: Mapping[str, str], out: Path) -> str:
    """Writes both files into ``out``; returns what they hold in a few words.

    ``left_out``: figures that were not made, and why.  Raises OSError.
    """
    found = [(each, _checks(each)) for each in made]
    sections = [
        PREFACE,
        _printed_section(found, left_out),
        _errata_section(found),
        *(_figure_section(each, checks) for each, checks in found),
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_table(_table(found), out / "report.csv")
    write_text("\n".join(sections), out / "REPORT.md")
    count = sum(len(checks) for _, checks in found)
    against = sum(check.agrees is False for _, checks in found for check in checks)
    return f"{count} numbers, {against} against a law"


def _checks(made: Made) -> list[Check]:
    figure = FIGURES[made.name]
    return figure.checks(made.tables, figure.settings[made.size])


def _table(found: Iterable[tuple[Made, list[Check]]]) -> pd.DataFrame:
    """A row per check, in the order of the figures."""
    return pd.DataFrame(
        [
            {
                "figure": made.name,
                "size": made.size,
                "what": check.what,
                "printed": check.printed,
                "how_known": check.source,
                "law": check.law,
                "ours": check.ours,
                "standard_error": check.error,
                "n": check.n,
                "ratio": check.ratio,
                "deviation_in_standard_errors": check.deviation,
                "verdict": check.verdict,
                "error_in_print": check.erratum,
                "shows_the_error": check.shows,
                "device": made.record.get("device"),
                "seed": made.record["setting"].get("seed"),
                "version": made.record.get("version"),
            }
            for made, checks in found
            for check in checks
        ]
    )


def _printed_section(found, left_out: Mapping[str, str]) -> str:
    rows = [
        (made.name, made.size, check)
        for made, checks in found
        for check in checks
        if check.printed is not None
    ]
    lines = ["## Every number of theirs", ""]
    heading = ("figure", "what", "in print", "law", "ours", "n", "ratio", "verdict")
    table = [
        (
            f"{name} ({size})",
            check.what,
            f"{_number(check.printed)} ({check.source})",
            _number(check.law if check.printed_law is None else check.printed_law),
            _measured(check),
            check.n,
            _number(check.ratio, 3),
            check.verdict,
        )
        for name, size, check in rows
    ]
    lines += _markdown(heading, table)
    if left_out:
        lines += ["", "Not run:", ""]
        lines += [f"- {name}: {why}" for name, why in left_out.items()]
    return "\n".join([*lines, ""])


def _errata_section(found) -> str:
    lines = ["## Errors in print", "", *_errata_summary(found)]
    for number, erratum in ERRATA.items():
        bearing = _bearing(found, number)
        lines += ["", f"### {number}. {erratum.title}", ""]
        lines += [f"*In print.* {erratum.printed}", "", f"*In truth.* {erratum.truth}", ""]
        if not bearing:
            names = ", ".join(erratum.figures)
            lines += [f"*Measured.* Not run: needs the figure {names}."]
            continue
        lines += [f"*Measured.* {_conclusion(bearing)}", ""]
        heading = ("figure", "what", "law", "ours", "n", "shows it", "remark")
        lines += _markdown(
            heading,
            [
                (
                    f"{made.name} ({made.size})",
                    check.what,
                    _number(check.law),
                    _measured(check),
                    check.n,
                    "yes" if check.shows else "**no**",
                    check.verdict,
                )
                for made, check in bearing
            ],
        )
    return "\n".join([*lines, ""])


def _bearing(found, number: int) -> list[tuple[Made, Check]]:
    return [(made, check) for made, checks in found for check in checks if check.erratum == number]


def _conclusion(bearing: list[tuple[Made, Check]]) -> str:
    shown = sum(bool(check.shows) for _, check in bearing)
    if shown == len(bearing):
        return f"Confirmed by all {shown} measurements." if shown > 1 else "Confirmed."
    return f"**Confirmed by {shown} of {len(bearing)} measurements only.**"


def _errata_summary(found) -> list[str]:
    rows = []
    for number, erratum in ERRATA.items():
        bearing = _bearing(found, number)
        rows.append((str(number), erratum.title, _conclusion(bearing) if bearing else "Not run."))
    return _markdown(("", "error", "here"), rows)


def _figure_section(made: Made, checks: list[Check]) -> str:
    record, figure = made.record, FIGURES[made.name]
    words = figure.words(made.tables, figure.settings[made.size])
    lines = [f"## {made.name}", "", f"{_sentence(FIGURES.entry(made.name).description)}", ""]
    lines += [f"![{made.name}]({made.name}/{made.name}.png)", ""]
    setting = ", ".join(f"{key} {_plain(value)}" for key, value in record["setting"].items())
    how = f"Size {made.size}: {setting}. Measured in {record['seconds']:.0f} s on "
    how += f"{record.get('device', 'cpu')} ({record.get('threads', '?')} threads), "
    how += f"lipexp {record.get('version', '?')}, torch {record.get('torch', '?')}, "
    how += f"numpy {record.get('numpy', '?')}: `lipexp figures {made.name} --size {made.size}`."
    lines += [how, ""]
    for paragraph in words:
        lines += [paragraph, ""]
    heading = ("what", "in print", "law", "ours", "n", "verdict")
    table = [
        (
            check.what,
            "" if check.printed is None else f"{_number(check.printed)} ({check.source})",
            _number(check.law),
            _measured(check),
            check.n,
            check.verdict,
        )
        for check in checks
    ]
    return "\n".join([*lines, *_markdown(heading, table), ""])


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _plain(value) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(each)}" for key, each in value.items())
    if isinstance(value, list) and len(value) > 20:
        return f"{value[0]} to {value[-1]} ({len(value)} of them)"
    if isinstance(value, list):
        words = list(map(str, value))
        return ("; " if any("," in word for word in words) else ", ").join(words)
    return str(value)


def _number(value: float | None, digits: int = 6) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.{digits}g}"


def _measured(check: Check) -> str:
    """Ours to the digits that its error leaves, ± the error."""
    if check.ours is None:
        return "not run"
    if not check.error:
        return _number(check.ours)
    digits = 2
    if check.ours:
        digits += math.floor(math.log10(abs(check.ours))) - math.floor(math.log10(check.error))
    return f"{check.ours:.{min(max(digits, 2), 12)}g} ± {check.error:.2g}"


def _markdown(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [_row(heading), _row(["---"] * len(heading))]
    return lines + [_row(cell.replace("|", "\\|") for cell in row) for row in rows]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
