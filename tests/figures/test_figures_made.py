"""Every figure is measured, drawn and checked; what is on disk is drawn without measuring."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from lipexp.errors import UserError
from lipexp.figures import FIGURES
from lipexp.figures.figure import SIZES
from lipexp.figures.making import RECORD, make
from tests.figures.conftest import TINY, TRAINED

FAST = "ldlt_series"


@pytest.fixture
def counted(tiny, monkeypatch):
    """How often FAST has been measured."""
    module, calls = import_module(f"lipexp.figures.{FAST}"), []
    figure = module.FIGURE

    def measure(setting, context):
        calls.append(setting)
        return figure.measure(setting, context)

    monkeypatch.setattr(module, "FIGURE", replace(figure, measure=measure))
    return calls


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_figure_has_a_tiny_setting_here_and_both_sizes_there():
    assert set(TINY) == {name for name in FIGURES if not FIGURES.fact(name, "trains")}
    assert set(TRAINED) == set(FIGURES) - set(TINY)
    for name in FIGURES:
        assert set(FIGURES[name].settings) == set(SIZES)
        for setting in FIGURES[name].settings.values():
            assert json.loads(json.dumps(setting)) == setting


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_figure_leaves_tables_picture_and_settings(tiny, tmp_path, name):
    made = make(name, None, tmp_path)
    folder = tmp_path / name
    record = json.loads((folder / RECORD).read_text())
    assert record["setting"] == TINY[name]
    assert record["size"] == "small"
    for table in record["tables"]:
        assert len(pd.read_csv(folder / f"{table}.csv")) > 1
    assert (folder / f"{name}.png").stat().st_size > 5_000
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert {path.suffix for path in folder.iterdir()} == {".csv", ".png", ".pdf", ".json"}
    found = FIGURES[name].checks(made.tables, TINY[name])
    assert found
    for check in found:
        assert check.agrees is not False, check
        assert check.verdict or check.ours is not None


@pytest.mark.parametrize("name", ["forward_histograms", FAST, "gnd_bounds"])
def test_drawn_again_a_figure_has_the_same_bytes(tiny, tmp_path, name):
    assert make(name, None, tmp_path).measured
    before = bytes_of(tmp_path / name)
    assert not make(name, None, tmp_path).measured
    assert bytes_of(tmp_path / name) == before
    assert b"Date" not in before[f"{name}.pdf"]  # nor in another second


def test_what_is_on_disk_is_not_measured_again_unless_asked(counted, tmp_path):
    for _ in range(2):
        make(FAST, "small", tmp_path)
    assert len(counted) == 1
    make(FAST, "small", tmp_path, force=True)
    assert len(counted) == 2


def test_without_a_size_the_one_on_disk_is_kept(counted, tmp_path):
    assert make(FAST, "paper", tmp_path).size == "paper"
    assert make(FAST, None, tmp_path).size == "paper"
    assert len(counted) == 1
    assert make(FAST, "small", tmp_path).size == "small"
    assert len(counted) == 2


def test_other_settings_are_measured_anew(counted, tmp_path, monkeypatch):
    make(FAST, "small", tmp_path)
    module = import_module(f"lipexp.figures.{FAST}")
    settings = {**module.FIGURE.settings, "small": {**TINY[FAST], "matrices": 21}}
    monkeypatch.setattr(module, "FIGURE", replace(module.FIGURE, settings=settings))
    assert make(FAST, "small", tmp_path).measured


@pytest.mark.parametrize("lost", [RECORD, "measured.csv"])
def test_a_folder_without_all_its_files_is_measured_anew(counted, tmp_path, lost):
    make(FAST, "small", tmp_path)
    (tmp_path / FAST / lost).unlink()
    assert make(FAST, "small", tmp_path).measured


def test_a_record_that_is_no_record_is_measured_anew(counted, tmp_path):
    make(FAST, "small", tmp_path)
    for text in ("", "[]", "{}", '{"size": "small"'):
        (tmp_path / FAST / RECORD).write_text(text)
        assert make(FAST, "small", tmp_path).measured


def test_an_interrupted_measurement_leaves_nothing(tiny, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(FAST, None, tmp_path, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_no_record_of_new_tables(tiny, tmp_path, monkeypatch):
    make(FAST, "small", tmp_path)
    from lipexp.figures import making

    def full(frame, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(making, "write_table", full)
    with pytest.raises(OSError, match="No space"):
        make(FAST, "small", tmp_path, force=True)
    assert not (tmp_path / FAST / RECORD).exists()


def test_a_derived_figure_measures_its_source_once(tiny, tmp_path):
    make("forward_histograms", None, tmp_path)
    assert (tmp_path / "forward_variance" / RECORD).exists()
    assert not make("forward_variance", None, tmp_path).measured
    own = pd.read_csv(tmp_path / "forward_histograms" / "histograms.csv")
    source = pd.read_csv(tmp_path / "forward_variance" / "histograms.csv")
    assert np.array_equal(own["count"], source["count"])


def test_a_derived_figure_leaves_its_source_at_the_papers_size(tiny, tmp_path):
    make("forward_variance", "paper", tmp_path)
    before = bytes_of(tmp_path / "forward_variance")
    assert make("forward_histograms", None, tmp_path).size == "small"
    assert bytes_of(tmp_path / "forward_variance") == before
    own = pd.read_csv(tmp_path / "forward_histograms" / "histograms.csv")
    source = pd.read_csv(tmp_path / "forward_variance" / "histograms.csv")
    assert not np.array_equal(own["count"], source["count"])  # of another seed


def test_progress_counts_up_to_its_total(tiny, tmp_path):
    seen = []
    for name in ("forward_variance", FAST, "typical_rate"):
        seen.clear()
        make(name, None, tmp_path, progress=lambda done, total: seen.append((done, total)))
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})
        assert seen[-1][0] == seen[-1][1]


def test_an_unknown_name_is_one_line_with_the_nearest(tmp_path):
    with pytest.raises(UserError, match="unknown figure 'forward_varianc'; nearest: forward_var"):
        make("forward_varianc", None, tmp_path)


def test_drawing_from_tables_imports_no_torch(tiny, tmp_path):
    make("aolk_decay", None, tmp_path)
    code = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "import lipexp.figures.aolk_decay as module, json\n"
        "folder = Path(sys.argv[1])\n"
        "setting = json.loads((folder / 'aolk_decay' / 'settings.json').read_text())['setting']\n"
        "module.FIGURE = replace(module.FIGURE, settings={'small': setting})\n"
        "from lipexp.figures.making import make\n"
        "assert not make('aolk_decay', None, folder).measured\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True)
    assert done.returncode == 0, done.stderr
