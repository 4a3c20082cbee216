"""A figure's folder: measured where it is not yet, drawn in any case."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd

from lipexp.figures import FIGURES
from lipexp.figures.figure import SIZES, Context, PaperFigure, Tables
from lipexp.files import write_bytes, write_json, write_table
from lipexp.plots import style

RECORD = "settings.json"  # written last: its presence means that the tables are whole


@dataclass(frozen=True)
class Made:
    """A figure on disk."""

    name: str
    size: str
    tables: Tables
    record: dict[str, Any]
    measured: bool  # now, not before


def make(
    name: str,
    size: str | None,
    out: Path,
    *,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    run: Callable[[Sequence[str]], Path] | None = None,
) -> Made:
    """Measures a figure unless its tables are in ``out/name``, and draws it there.

    ``size`` None is that of the tables on disk, small without any; ``run`` does a run for figures
    that train.  Raises UserError for an unknown name and OSError where ``out`` cannot be written.
    """
    made = tables_of(name, size, out, force=force, progress=progress, run=run)
    figure: PaperFigure = FIGURES[name]
    drawn = figure.draw(made.tables, figure.settings[made.size])
    for kind, metadata in _METADATA.items():
        content = BytesIO()
        with matplotlib.rc_context({"pdf.fonttype": 42}):  # whole letters, as publishers ask for
            drawn.savefig(content, format=kind, dpi=style.DPI, metadata=metadata)
        write_bytes(content.getbuffer(), out / name / f"{name}.{kind}")
    return made


# Without what would make two files of the same picture differ.
_METADATA = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


def tables_of(
    name: str,
    size: str | None,
    out: Path,
    *,
    force: bool = False,
    for_another: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    run: Callable[[Sequence[str]], Path] | None = None,
) -> Made:
    """A figure's tables, read from ``out/name`` or measured and written there.

    ``for_another``: asked for by a figure that derives from it.  Then what is there at the paper's
    size stays, and smaller tables are handed over alone.
    """
    figure: PaperFigure = FIGURES[name]
    there = None if force else _recorded(out / name, figure, size)
    if there is not None:
        tables = _read(out / name, there["tables"])
        return Made(name, there["size"], tables, there, measured=False)
    size = size or SIZES[0]
    began = time.perf_counter()
    if force and run is not None:
        run = _anew(run)
    context = Context(
        tick=progress,
        tables=lambda other: tables_of(other, size, out, for_another=True).tables,
        folder=out / name,
        run=run,
    )
    tables = figure.measure(figure.settings[size], context)
    record = {
        "figure": name,
        "size": size,
        "setting": _plain(figure.settings[size]),
        "tables": list(tables),
        "seconds": round(time.perf_counter() - began, 2),
        **_provenance(),
    }
    larger = _recorded(out / name, figure, SIZES[-1])
    if for_another and larger is not None:
        return Made(name, size, tables, record, measured=True)
    _write(out / name, tables, record)
    # Read back, so that the picture is the same whenever it is drawn.
    return Made(name, size, _read(out / name, record["tables"]), record, measured=True)


def _anew(run: Callable[[Sequence[str]], Path]) -> Callable[[Sequence[str]], Path]:
    """Runs again what is done."""
    return lambda overrides: run([*overrides, "force=true"])


def _recorded(folder: Path, figure: PaperFigure, size: str | None) -> dict[str, Any] | None:
    """The record of whole tables of this size and these settings; None if there are none."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        there, setting, names = record["size"], record["setting"], record["tables"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    if size not in (None, there) or there not in figure.settings:
        return None
    whole = all((folder / f"{table}.csv").is_file() for table in names)
    return record if whole and setting == _plain(figure.settings[there]) else None


def _plain(setting: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(setting))


def _read(folder: Path, names: list[str]) -> Tables:
    return {name: pd.read_csv(folder / f"{name}.csv") for name in names}


def _write(folder: Path, tables: Tables, record: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    for name, table in tables.items():
        write_table(table, folder / f"{name}.csv")
    write_json(record, folder / RECORD)


def _provenance() -> dict[str, Any]:
    import numpy as np
    import torch

    from lipexp import __version__
    from lipexp.runs.device import choose_device, device_name
    from lipexp.runs.provenance import commit

    return {
        "device": device_name(choose_device("auto")),
        "threads": torch.get_num_threads(),
        "version": __version__,
        "commit": commit(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
