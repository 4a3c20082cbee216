"""`lipexp figures`: the decay paper's figures, print and truth side by side, and the report."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lipexp.cli.parser import Parser
from lipexp.errors import RunError, UserError
from lipexp.figures import FIGURES
from lipexp.registry import hint

if TYPE_CHECKING:
    from lipexp.figures.making import Made

SIZES = ("small", "paper")


def main(argv: list[str]) -> int:
    """Measures and draws the figures asked for; with --all also writes the report.

    Under --all a figure that cannot be made (a data set is missing) is passed over with a line.
    Raises UserError for no or an unknown name, and an --out that cannot be written.
    """
    arguments = _parser().parse_args(argv)
    names = _names(arguments.names, arguments.all)
    if arguments.size not in (None, *SIZES):
        raise UserError(f"--size {arguments.size!r} is unknown; {hint(arguments.size, SIZES)}")
    out = Path(arguments.out)
    made, left_out = [], {}
    try:
        for name in names:
            try:
                made.append(_make(name, arguments.size, out, arguments.force))
            except (UserError, RunError) as error:
                if not arguments.all:
                    raise
                left_out[name] = str(error)
                print(f"{name:<24}not run: {error}")
        if arguments.all:
            print(_write_report(made, left_out, out))
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error
    return 0


def _parser() -> Parser:
    parser = Parser(
        "lipexp figures",
        "The decay paper's figures (arXiv 2503.00240, 2601.08253) measured anew: a folder\n"
        "for each with its tables, PNG and PDF. What is on disk is drawn without measuring it\n"
        "again. --all makes every figure and REPORT.md: what is printed, what is true. Figures:\n  "
        + "\n  ".join(FIGURES),
        ["lipexp figures weight_variance", "lipexp figures ldlt_series gnd_bounds --size small"],
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a figure; lipexp list figures")
    parser.add_argument("--all", action="store_true", help="every figure, and the report")
    parser.add_argument(
        "--size",
        metavar="SIZE",
        help="small (minutes at most, on two cores) or paper; default: as on disk, else small",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        default="outputs/paper",
        help="the folder to write to (default: outputs/paper)",
    )
    parser.add_argument("--force", action="store_true", help="measure again")
    return parser


def _names(names: list[str], everything: bool) -> list[str]:
    for name in names:
        FIGURES.entry(name)
    if everything:
        if names:
            raise UserError(f"--all takes no names; got {', '.join(names)}")
        # what trains comes last: by then the others are there
        return sorted(FIGURES, key=lambda name: FIGURES.fact(name, "trains"))
    if not names:
        near = ", ".join(FIGURES)
        raise UserError(f"lipexp figures needs a figure's name or --all; there are {near}")
    return list(dict.fromkeys(names))


def _make(name: str, size: str | None, out: Path, force: bool) -> Made:
    """One figure with its line of progress, which ends as a line that stays."""
    from lipexp.cli.progress import progress_bar
    from lipexp.cli.run import run
    from lipexp.figures.making import make

    began = time.perf_counter()
    with progress_bar(True) as progress:
        made = make(
            name,
            size,
            out,
            force=force,
            progress=lambda done, total: progress(done, total, name),
            run=run,
        )
    done = "measured" if made.measured else "drawn from its tables"
    seconds = time.perf_counter() - began
    print(f"{name:<24}{done} ({made.size}) in {seconds:.1f} s: {out / name}")
    sys.stdout.flush()
    return made


def _write_report(made: list[Made], left_out: dict[str, str], out: Path) -> str:
    from lipexp.figures.report import write_report

    counts = write_report(made, left_out, out)
    return f"report of {counts}: {out / 'REPORT.md'}"
