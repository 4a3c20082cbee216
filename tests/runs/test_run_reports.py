"""What the reports of finished runs are made of."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

import lipexp
from lipexp.cli import guarded
from lipexp.data import DATASETS, covertype
from lipexp.plots import style
from lipexp.runs.aligned import Column, aligned
from lipexp.runs.summary import measured_over, round_numbers
from lipexp.runs.train.digest import shares
from tests.data.data_fakes import write_covertype


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (1, [1]),
        (3, [1, 2, 3]),
        (10, [1, 2, 5, 10]),
        (11, [1, 2, 5, 10, 11]),
        (1000, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]),
    ],
)
def test_round_numbers_end_in_the_last_which_stands_once(last, expected):
    assert round_numbers(last) == expected


def test_numbers_stand_at_the_right_and_text_at_the_left_under_a_rule():
    columns = [Column("run", ["a", "longer"], numeric=False), Column("n", ["7", "128"])]
    assert aligned(columns) == ["run       n", "───────────", "a         7", "longer  128"]
    assert aligned([Column("law", ["", "-1.5"])])[2] == ""


def test_norms_are_over_pixels_for_images_and_over_features_for_tables():
    shipped = [n for n in DATASETS if DATASETS.is_builtin(n) and DATASETS.fact(n, "classes")]
    words = {name: measured_over(name) for name in shipped}
    assert words.pop("covertype") == "standardised features"
    assert set(words.values()) == {"pixels in [0, 1]"}


def test_certified_shares_are_of_radii_beyond_the_float_that_is_not_below_the_rational(tmp_path):
    # 3/10 lies between the floats 0.3 and 0.30000000000000004.
    radii = [0.0, 0.3, 0.30000000000000004, math.nextafter(0.30000000000000004, 1), math.inf]
    path = tmp_path / "certificates.csv"
    path.write_text("\n".join(["radius", *map(str, radii)]) + "\n")
    assert shares(path, ["0.3", "3/10", "0.25", "1"], rows=5) == {
        "0.3": 2 / 5,
        "3/10": 2 / 5,
        "0.25": 4 / 5,
        "1": 1 / 5,
    }


def test_a_table_that_lacks_rows_is_no_share(tmp_path):
    path = tmp_path / "certificates.csv"
    path.write_text("radius\n1.0\n")
    with pytest.raises(ValueError, match="has 1 rows of 2"):
        shares(path, ["0.3"], rows=2)


def test_a_validation_split_has_its_column_in_the_table_of_epochs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = ["task=train", "depth=2", "width=16", "task.epochs=2", "task.eps=[0.3]"]
    for share, heads in ((0, []), (0.2, ["validation %"])):
        folder = lipexp.run([*keys, f"task.validation={share}"])
        lines = (folder / "log.txt").read_text().splitlines()
        place = next(k for k, line in enumerate(lines) if line.lstrip().startswith("epoch    loss"))
        expected = ["epoch", "loss", "train %", "test %", *heads, "~CRA@0.3 %", "images/s"]
        assert re.split(r" {2,}", lines[place].strip()) == expected
        table = pd.read_csv(folder / "metrics.csv")
        for line, (_, row) in zip(lines[place + 2 : place + 4], table.iterrows(), strict=True):
            shown = dict(zip(expected, line.split(), strict=True))
            for head in heads:
                assert shown[head] == f"{100 * row['validation_accuracy']:.2f}"
            assert shown["test %"] == f"{100 * row['test_accuracy']:.2f}"
            assert shown["~CRA@0.3 %"] == f"{100 * row['estimated_cra_0.3']:.2f}"


def test_of_a_table_rows_are_spoken_of_and_never_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    features = generator.integers(0, 3000, (100, 54)).astype(np.float64)
    counts = (30, 30, 10, 10, 10, 5, 5)
    write_covertype(tmp_path, features, np.repeat(np.arange(1, 8, dtype=np.int32), counts))
    monkeypatch.setattr(covertype, "PUBLISHED_COUNTS", counts)
    where = ["dataset=covertype", f"dataset.folder={tmp_path}", "dataset.verify=false"]
    folder = lipexp.run(["task=train", "depth=2", "width=16", "task.epochs=1", *where])
    told = (folder / "log.txt").read_text()
    for words in ("80 training rows of covertype", "rows/s", "20 test rows, K <= "):
        assert words in told
    drawn = []
    save = style.save
    monkeypatch.setattr(style, "save", lambda made, path: (drawn.append(made), save(made, path)))
    assert guarded(["certify", str(folder), "--attack-points", "5", "--steps", "2"]) == 0
    told += "".join(capsys.readouterr())
    assert told.count("20 test rows, K <= ") == 2  # by the training and by certify
    texts = [text.get_text() for made in drawn for text in made.findobj(Text)]
    assert {"certified, 20 rows", "certified, 5 rows", "rows"} <= set(texts)
    assert not [text for text in [told, *texts] if "image" in text]


@pytest.mark.parametrize("keys", [["model=aol", "activation=maxmin"], ["model=sll"]])
def test_convolutions_have_their_law_beside_the_measurement(keys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shape = ["network=lipconvnet", "depth=5", "width=16", "replicates=4", "batch=20"]
    folder = lipexp.run([*keys, *shape, "init=normal"])
    table = pd.read_csv(folder / "layers.csv").groupby("layer").mean(numeric_only=True)
    for quantity, off in (("second_moment", 0.5), ("gradient_second_moment", 0.1)):
        measured, law = table[f"log10_{quantity}"], table[f"predicted_log10_{quantity}"]
        assert (measured - law).abs().max() < off
        assert law.max() - law.min() > 0.2
