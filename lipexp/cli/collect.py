"""`lipexp collect`: all runs, finished or under way, as one table with a plot."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipexp.cli.parser import Parser
from lipexp.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

METRIC = "decay_per_layer_forward"
SHOWN_ROWS = 30
PLAIN_WIDTH = 200  # letters of a line where there is no terminal to fit
SHORTEST = 15  # letters to which a name may be cut before columns are left out
HASH = 9  # letters that end a run's name and tell it from its like
GAP = 2  # letters between two columns

# Column of the table of runs, and its heading.  Those that no run has are left out, and on a narrow
# terminal the last ones.
SHOWN = {
    "name": "run",
    "status": "status",
    "decay_per_layer_forward": "forward",
    "predicted_typical_decay_per_layer_forward": "typical",
    "decay_per_layer_backward": "backward",
    "predicted_typical_decay_per_layer_backward": "typical",
    "seconds": "seconds",
}
KEPT = 3  # of these, at any width


def main(argv: list[str]) -> int:
    """Writes runs.csv, layers.csv and decay.png, and what --by and --metric ask for.

    Raises UserError for a folder without runs, an unknown column, and an --out that cannot be
    written.
    """
    arguments = _parser().parse_args(argv)
    by = None if arguments.by is None else _names(arguments.by)

    from lipexp.runs.collect import collect, group, pooled, varying

    folder = _runs_folder(Path(arguments.folder))
    runs, layers = collect(folder)
    if runs.empty:
        raise UserError(f"there are no runs in {folder}; `lipexp run` makes one")
    tables, figures = {"runs": runs, "layers": layers}, {}
    grouped, unlike = None, []
    metric = arguments.metric or METRIC
    if by is not None or arguments.metric is not None:
        by = varying(runs[runs["status"] == "done"]) or ["model"] if by is None else by
        grouped, unlike = group(runs, by, metric), pooled(runs, by, metric)
        stem = "_".join([metric, "by", *by]).replace("/", "-")
        tables[stem] = grouped
        figures[stem] = _figure(runs, by, metric)
    figures["decay"] = _overview(runs)
    out = Path(arguments.out)
    written = _write(out, tables, figures)
    print(_summary(runs, grouped, metric))
    if unlike:
        them = "it" if len(unlike) == 1 else "them"
        print(f"pooled over {', '.join(unlike)}: add {them} to --by")
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
        lines.append(_text_table(runs[shown], [SHOWN[key] for key in shown], "runs.csv", KEPT))
        return "\n".join(lines)
    lines.append(f"{metric}, mean and standard deviation over n runs:")
    headings = [
        name.replace("_", " ") if name == "standard_deviation" else name for name in grouped
    ]
    lines.append(_text_table(grouped, headings, "its csv file", len(headings)))
    return "\n".join(lines)


def _text_table(table: pd.DataFrame, headings: Sequence[str], rest: str, keep: int) -> str:
    """Aligned columns, at most SHOWN_ROWS rows; the first ``keep`` columns at any width."""
    shown = table.head(SHOWN_ROWS)
    columns = [
        _Column(heading, [_cell(value, key) for value in shown[key]], _is_number(shown[key].dtype))
        for heading, key in zip(headings, shown, strict=True)
    ]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PLAIN_WIDTH
    columns = _fitted(columns, width, min(keep, len(columns)))
    lines = [_line(columns, [column.heading for column in columns]), "─" * _line_width(columns)]
    lines += [_line(columns, [c.cells[row] for c in columns]) for row in range(len(shown))]
    if len(table) > SHOWN_ROWS:
        lines.append(f"... {len(table) - SHOWN_ROWS} more in {rest}")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Column:
    heading: str
    cells: list[str]
    numeric: bool

    @property
    def width(self) -> int:
        return max(map(len, [self.heading, *self.cells]))


def _line_width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)


def _line(columns: Sequence[_Column], cells: Sequence[str]) -> str:
    aligned = [
        cell.rjust(column.width) if column.numeric else cell.ljust(column.width)
        for column, cell in zip(columns, cells, strict=True)
    ]
    return (" " * GAP).join(aligned).rstrip()


def _fitted(columns: list[_Column], width: int, keep: int) -> list[_Column]:
    """What a line has room for: the widest text is cut, and then the last columns are left out."""
    texts = [place for place in range(keep) if not columns[place].numeric]
    if not texts:
        return columns
    place = max(texts, key=lambda place: columns[place].width)
    widest = columns[place]
    least = min(widest.width, max(len(widest.heading), SHORTEST))
    while len(columns) > keep and _line_width(columns) - width > widest.width - least:
        columns = columns[:-1]
    room = max(widest.width - max(_line_width(columns) - width, 0), least)
    cut = replace(widest, cells=[_shortened(cell, room) for cell in widest.cells])
    return [*columns[:place], cut, *columns[place + 1 :]]


def _shortened(text: str, room: int) -> str:
    """Start and end of a text: "aol-mlp-d10-w64-normal-c33715f9", 20 -> "aol-mlp-d1…-c33715f9"."""
    if len(text) <= room:
        return text
    end = min(HASH, 2 * (room - 1) // 3)
    return f"{text[: room - 1 - end]}…{text[-end:]}"


def _is_number(kind: Any) -> bool:
    from pandas.api.types import is_numeric_dtype

    return is_numeric_dtype(kind)


def _cell(value: Any, column: str) -> str:
    """A setting as it was asked for; what came out of a run with four decimals."""
    import pandas as pd

    from lipexp.runs.collect import is_setting

    if pd.isna(value):
        return ""
    if not isinstance(value, float):
        return str(value)
    if is_setting(column) or abs(value) >= 1e6:
        return f"{value:.4g}"
    return f"{value:z.4f}"  # z: what rounds to zero has no sign
