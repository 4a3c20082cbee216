"""`lipexp collect`: all runs, finished or under way, as tables, plots and one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipexp.cli.parser import Parser
from lipexp.cli.text_table import text_table
from lipexp.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

METRIC = "decay_per_layer_forward"
TRAINED_METRIC = "test_accuracy"  # where nothing but trainings has finished

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
SHOWN_TRAINING = {"name": "run", "status": "status", "epochs_done": "epochs", "task.epochs": "of"}


def main(argv: list[str]) -> int:
    """Writes runs.csv, layers.csv, decay.png of probes, robustness.png of trainings, what --by,
    --metric and --against ask for, and report.html.

    Raises UserError for a folder without runs, an unknown column, and an --out that cannot be
    written.
    """
    arguments = _parser().parse_args(argv)
    by = None if arguments.by is None else _names(arguments.by)

    from lipexp.runs.collect.tables import collect, group, pooled, varying, with_metric

    folder = _runs_folder(Path(arguments.folder))
    runs, layers = collect(folder)
    if runs.empty:
        where = f"{folder} or up to three folders below it"
        raise UserError(f"no runs in {where}; `lipexp run` makes one")
    tables, figures = {"runs": runs, "layers": layers}, {}
    grouped, unlike = None, []
    metric = arguments.metric or _default_metric(runs)
    if by is not None or arguments.metric is not None or arguments.against is not None:
        by = varying(with_metric(runs, metric)) or ["model"] if by is None else by
        if arguments.against and arguments.against not in by:
            by = [*by, arguments.against]
        grouped, unlike = group(runs, by, metric), pooled(runs, by, metric)
        stem = "_".join([metric, "by", *by]).replace("/", "-")
        tables[stem] = grouped
        figures[stem] = _figure(runs, by, metric, arguments.against)
    figures["decay"] = _decay(runs)
    figures["robustness"] = _robustness(runs)
    out = Path(arguments.out)
    asked = None if grouped is None else (metric, by, arguments.against)
    report = _report(runs, layers, asked)
    written = _write(out, tables, figures, {"report.html": report})
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
        "run); decay.png of probes, robustness.png of trainings; report.html, one page with all\n"
        "of it, for any browser, from disk. With --by and --metric also one metric's mean,\n"
        "standard deviation and number of runs in each group, as table and plot.",
        ["lipexp collect", f"lipexp collect --by model,depth --metric {METRIC}"],
    )
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        default="outputs/runs",
        help="where runs are, up to three folders below it (default: outputs/runs)",
    )
    parser.add_argument("--by", metavar="K,K", help="columns of runs.csv whose groups are averaged")
    parser.add_argument(
        "--metric",
        metavar="M",
        help=f"what is averaged (default: {METRIC}; of trainings alone {TRAINED_METRIC})",
    )
    parser.add_argument(
        "--against",
        choices=("depth", "width", "init"),
        help="what the metric is drawn against, and grouped by too (default: drawn against what "
        "varies of them, in this order)",
    )
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


def _default_metric(runs: pd.DataFrame) -> str:
    from lipexp.runs.collect.tables import trained

    probed = METRIC in runs and runs[METRIC].notna().any()
    return METRIC if probed or trained(runs).empty else TRAINED_METRIC


def _decay(runs: pd.DataFrame):
    """The plot of every collection; None while no run has a decay."""
    from lipexp.plots.abscissae import abscissa, told
    from lipexp.runs.collect.tables import varying, with_metric

    try:
        finished = with_metric(runs, METRIC)
    except UserError:
        return None
    by = varying(finished, without=told(finished, abscissa(finished)))
    return _figure(finished, by, METRIC)


def _robustness(runs: pd.DataFrame):
    """The plot of trained runs; None while there are fewer than two to compare."""
    from lipexp.runs.collect.tables import named, trained, varying

    finished = trained(runs)
    if len(finished) < 2:
        return None
    from lipexp.plots.abscissae import abscissa, told
    from lipexp.plots.robustness import robustness

    axis = told(finished, abscissa(finished))
    first = [key for key in named(finished, "model", "init") if key not in axis]
    return robustness(finished, by=varying(finished, first=first, without=axis))


def _figure(runs: pd.DataFrame, by: Sequence[str], metric: str, against: str | None = None):
    from lipexp.plots.decay import decay
    from lipexp.runs.collect.tables import with_metric

    return decay(with_metric(runs, metric), by=by, metric=metric, against=against)


def _report(runs: pd.DataFrame, layers: pd.DataFrame, asked: Any) -> str:
    from lipexp.runs.collect.report import page
    from lipexp.runs.collect.report_data import report_data

    return page(report_data(runs, layers, asked), f"lipexp: {_counted(runs)}")


def _counted(runs: pd.DataFrame) -> str:
    return f"{len(runs)} run{'s' if len(runs) > 1 else ''}"


def _write(
    out: Path, tables: dict[str, pd.DataFrame], figures: dict[str, Any], texts: dict[str, str]
) -> list[str]:
    """The names of the files written.  A plot that nothing can be drawn in is taken away."""
    from lipexp.files import write_table, write_text

    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            write_table(table, out / f"{name}.csv")
        for name, text in texts.items():
            write_text(text, out / name)
        for name, figure in figures.items():
            if figure is None:
                (out / f"{name}.png").unlink(missing_ok=True)
                continue
            from lipexp.plots.style import save

            save(figure, out / f"{name}.png")
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error
    drawn = [name for name, figure in figures.items() if figure is not None]
    return [*(f"{name}.csv" for name in tables), *(f"{name}.png" for name in drawn), *texts]


def _summary(runs: pd.DataFrame, grouped: pd.DataFrame | None, metric: str) -> str:
    counts = Counter(runs["status"])
    states = ", ".join(f"{counts[status]} {status}" for status in sorted(counts))
    lines = [f"{_counted(runs)}: {states}{_again(runs)}"]
    if grouped is None:
        return "\n".join([*lines, *_tables(runs)])
    lines.append(f"{metric}, mean and standard deviation over n runs:")
    headings = [
        name.replace("_", " ") if name == "standard_deviation" else name for name in grouped
    ]
    lines.append(text_table(grouped, headings, "its csv file", len(headings)))
    return "\n".join(lines)


def _again(runs: pd.DataFrame) -> str:
    """How many done runs stand there twice, and how many others only seem to be of another seed."""
    from lipexp.runs.collect.reading import DONE
    from lipexp.runs.collect.tables import copies, unlike_in_name_alone

    done = runs[runs["status"] == DONE]
    twice = int(copies(done).sum())
    words = f"; {twice} of them a second time, which no mean counts" if twice else ""
    odd = int(unlike_in_name_alone(done).sum())
    if odd:
        words += f"; {odd} as another but in name, and counted: a plugin changed, or a copy renamed"
    return words


def _tables(runs: pd.DataFrame) -> list[str]:
    """Probes one by one, trainings under way, and the accuracies of those that are done."""
    from lipexp.runs.collect.tables import accuracies, named, trained

    finished = trained(runs)
    training = (runs["task"] == "train") & ~runs.index.isin(finished.index)
    probes = ~runs.index.isin(finished.index) & ~training
    lines, gap = [], []
    for some, headings in ((probes, SHOWN), (training, SHOWN_TRAINING)):
        shown = [key for key in headings if key in runs and runs.loc[some, key].notna().any()]
        if some.any():
            names = [headings[key] for key in shown]
            lines += [*gap, text_table(runs.loc[some, shown], names, "runs.csv", KEPT)]
            gap = [""]
    if not finished.empty:
        table, by = accuracies(finished)
        table = table.dropna(axis="columns", how="all")
        first = named(finished, "model", "depth", "init")
        behind = [key for key in by if key not in first]
        table = table[[*first, *(key for key in table if key not in by), *behind]]
        names = [_accuracy_heading(column) for column in table]
        lines += [*gap, "trained, mean and standard deviation (sd) over n seeds:"]
        lines.append(text_table(table, names, "runs.csv", len(first) + 3))
    return lines


def _accuracy_heading(column: str) -> str:
    """Of a column of `lipexp.runs.collect.tables.accuracies`."""
    if column.endswith("_sd"):
        return "sd"
    if column == "test_accuracy":
        return "accuracy"
    return column.replace("cra_", "CRA ") if column.startswith("cra_") else column
