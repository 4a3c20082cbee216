"""Tables by epoch: what is kept when a training goes on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lipexp.runs.train.epoch_tables import EpochTable


def rows(epoch, **columns) -> pd.DataFrame:
    return pd.DataFrame([{"epoch": epoch, **columns}])


def filled(path, *epochs, **columns) -> bytes:
    table = EpochTable(path, resumed=0)
    for epoch in epochs:
        table.add(rows(epoch, loss=epoch / 3, **columns))
    return path.read_bytes()


def test_rows_behind_the_checkpoint_are_dropped_and_digits_kept(tmp_path):
    path = tmp_path / "a.csv"
    undisturbed = filled(path, 1, 2, 3)
    table = EpochTable(path, resumed=1)
    for epoch in (2, 3):
        table.add(rows(epoch, loss=epoch / 3))
    assert path.read_bytes() == undisturbed


def test_a_training_that_begins_anew_keeps_nothing(tmp_path):
    path = tmp_path / "a.csv"
    filled(path, 0, 1, 2)
    EpochTable(path, resumed=0).add(rows(0, loss=7.0))
    assert list(pd.read_csv(path)["loss"]) == [7.0]


def test_other_columns_leave_the_old_values_under_their_own_names(tmp_path):
    path = tmp_path / "a.csv"
    filled(path, 1, cra_a=0.25, cra_b=0.5)
    EpochTable(path, resumed=1).add(rows(2, loss=1.0, cra_c=0.75))
    found = pd.read_csv(path)
    assert found.loc[0, ["cra_a", "cra_b"]].tolist() == [0.25, 0.5]
    assert np.isnan(found.loc[0, "cra_c"])
    assert found.loc[1, "cra_c"] == 0.75
    assert found.loc[1, ["cra_a", "cra_b"]].isna().all()


def test_minus_infinity_and_nothing_come_back_as_they_were(tmp_path):
    path = tmp_path / "a.csv"
    table = EpochTable(path, resumed=0)
    table.add(pd.DataFrame({"epoch": [0, 0], "x": [-np.inf, np.nan]}))
    before = path.read_bytes()
    EpochTable(path, resumed=5).add(rows(6, x=1.0))
    assert path.read_bytes().startswith(before)


def test_what_is_no_table_is_no_row(tmp_path):
    for content in (b"", b"\xff\xfe", b"a,b\n1,2\n", b"epoch\nx\n"):
        path = tmp_path / "a.csv"
        path.write_bytes(content)
        EpochTable(path, resumed=3).add(rows(4))
        assert path.read_text() == "epoch\n4\n"
