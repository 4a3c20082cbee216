"""`lipexp collect`: all runs, finished or under way, as one table with a plot."""

from __future__ import annotations

import io
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipexp.cli.parser import Parser
from lipexp.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

METRIC = "decay_per_layer_forward"
SHOWN_ROWS = 30
PLAIN_WIDTH = 200  # letters of a line where there is no terminal to fit

# Column of the table of runs, and its heading; those that no run has are left out.
SHOWN = {
    "name": "run",
    "status": "status",
    "decay_per_layer_forward": "forward",
    "predicted_typical_decay_per_layer_forward": "law",
    "decay_per_layer_backward": "backward",
    "predicted_typical_decay_per_layer_backward": "law",
    "seconds": "seconds",
}


def main(argv: list[str]) -> int:
    """Writes runs.csv, layers.csv and decay.png, and what --by and --metric ask for.

    Raises UserError for a folder without runs, an unknown column, and an --out that cannot be
    written.
    """
    arguments = _parser().parse_args(argv)
    by = None if arguments.by is None else _names(arguments.by)

    from lipexp.runs.collect import collect, group, varying

    folder = _runs_folder(Path(arguments.folder))
    runs, layers = collect(folder)
    if runs.empty:
        raise UserError(f"there are no runs in {folder}; `lipexp run` makes one")
    tables, figures, grouped = {"runs": runs, "layers": layers}, {}, None
    metric = arguments.metric or METRIC
    if by is not None or arguments.metric is not None:
        by = varying(runs[runs["status"] == "done"]) or ["model"] if by is None else by
        grouped = group(runs, by, metric)
        stem = "_".join([metric, "by", *by]).replace("/", "-")
        tables[stem] = grouped
        figures[stem] = _figure(runs, by, metric)
    figures["decay"] = _overview(runs)
    out = Path(arguments.out)
    written = _write(out, tables, figures)
    print(_summary(runs, grouped, metric))
    print(f"files in {out}: {', '.join(written)}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        "lipexp collect",
        "All runs as one table: runs.csv (a row per run), layers.csv (a row per layer of every\n"
        "run), decay.png. With --by and --metric also one metric's mean, standard deviation and\n"
        "number of runs in each group, as a table and a plot.",
        ["lipexp collect", f"lipexp collect --by model,depth --metric {METRIC}"],
    )
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        default="outputs/runs",
        help="where runs are (default: outputs/runs)",
    )
    parser.add_argument("--by", metavar="K,K", help="columns of runs.csv whose groups are averaged")
    parser.add_argument("--metric", metavar="M", help=f"what is averaged (default: {METRIC})")
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        default="outputs/collected",
        help="the folder to write to (default: outputs/collected)",
    )
    return parser


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UserError(f"--by {text!r} names no column; for example --by model,init")
    return names


def _runs_folder(folder: Path) -> Path:
    """The folder itself, or the runs in a folder of outputs."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; `lipexp run` makes outputs/runs")
    return folder / "runs" if (folder / "runs").is_dir() else folder


def _overview(runs: pd.DataFrame):
    """The plot of every collection; None while no run has a decay."""
    from lipexp.runs.collect import varying, with_metric

    try:
        finished = with_metric(runs, METRIC)
    except UserError:
        return None
    return _figure(finished, varying(finished), METRIC)


def _figure(runs: pd.DataFrame, by: Sequence[str], metric: str):
    from lipexp.plots.decay import decay
    from lipexp.runs.collect import with_metric

    return decay(with_metric(runs, metric), by=by, metric=metric)


def _write(out: Path, tables: dict[str, pd.DataFrame], figures: dict[str, Any]) -> list[str]:
    """The names of the files written.  A plot that nothing can be drawn in is taken away."""
    from lipexp.files import write_table

    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            write_table(table, out / f"{name}.csv")
        for name, figure in figures.items():
            if figure is None:
                (out / f"{name}.png").unlink(missing_ok=True)
                continue
            from lipexp.plots.style import save

            save(figure, out / f"{name}.png")
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error
    drawn = [name for name, figure in figures.items() if figure is not None]
    return [*(f"{name}.csv" for name in tables), *(f"{name}.png" for name in drawn)]


def _summary(runs: pd.DataFrame, grouped: pd.DataFrame | None, metric: str) -> str:
    counts = Counter(runs["status"])
    states = ", ".join(f"{counts[status]} {status}" for status in sorted(counts))
    lines = [f"{len(runs)} run{'s' if len(runs) > 1 else ''}: {states}"]
    if grouped is None:
        shown = [key for key in SHOWN if key in runs and runs[key].notna().any()]
        lines.append(_text_table(runs[shown], [SHOWN[key] for key in shown], "runs.csv"))
        return "\n".join(lines)
    lines.append(f"{metric}, mean and standard deviation over n runs:")
    headings = [
        name.replace("_", " ") if name == "standard_deviation" else name for name in grouped
    ]
    lines.append(_text_table(grouped, headings, "its csv file"))
    return "\n".join(lines)


def _text_table(table: pd.DataFrame, headings: Sequence[str], rest: str) -> str:
    """Aligned columns, at most SHOWN_ROWS rows."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="")
    for heading, numeric in zip(headings, map(_is_number, table.dtypes), strict=True):
        drawn.add_column(Text(heading), justify="right" if numeric else "left", overflow="fold")
    for row in table.head(SHOWN_ROWS).itertuples(index=False):
        drawn.add_row(*(Text(_cell(value)) for value in row))
    out = io.StringIO()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PLAIN_WIDTH
    Console(file=out, width=width, color_system=None, legacy_windows=False).print(drawn)
    lines = [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]
    if len(table) > SHOWN_ROWS:
        lines.append(f"... {len(table) - SHOWN_ROWS} more in {rest}")
    return "\n".join(lines)


def _is_number(kind: Any) -> bool:
    from pandas.api.types import is_numeric_dtype

    return is_numeric_dtype(kind)


def _cell(value: Any) -> str:
    import pandas as pd

    if pd.isna(value):
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e6 else f"{value:.4g}"
