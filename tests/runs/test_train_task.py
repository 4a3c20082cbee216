"""Training as it is typed: files, resumption, what stops it, what no test image may decide."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import lipexp
from lipexp import data
from lipexp.cli import guarded
from lipexp.config import conf_folder
from lipexp.errors import RunError, UserError
from lipexp.runs.train import task as train_task
from lipexp.runs.train.report import chance_warning
from lipexp.training import checkpoint, loop

SMALL = ["task=train", "depth=2", "width=16", "task.epochs=3", "batch=256", "task.lr=0.01"]
TIMES = ["seconds", "images_per_second"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def contents(folder) -> dict[str, bytes]:
    names = ("checkpoint.safetensors", "layers.csv", "certificates.csv")
    return {name: (folder / name).read_bytes() for name in names}


def metrics(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv").drop(columns=TIMES)


def interrupt_at(monkeypatch, epoch: int, error: BaseException) -> None:
    """The training of that epoch raises in its midst."""
    train_on = loop.Training._train_on

    def breaking(self, inputs, labels):
        if self.epoch == epoch - 1 and self.step % self.steps_per_epoch == 2:
            monkeypatch.setattr(loop.Training, "_train_on", train_on)
            raise error
        return train_on(self, inputs, labels)

    monkeypatch.setattr(loop.Training, "_train_on", breaking)


def test_a_training_leaves_what_is_promised():
    folder = lipexp.run([*SMALL, "task.validation=0.1"])
    assert {p.name for p in folder.iterdir()} >= {
        "config.yaml", "layers.csv", "metrics.csv", "certificates.csv", "summary.json",
        "checkpoint.safetensors", "log.txt", "plots",
    }  # fmt: skip
    plots = {p.name for p in (folder / "plots").iterdir()}
    assert plots == {
        "learning_curves.png", "certified_accuracy.png", "radius_histogram.png",
        "layers_over_training.png",
    }  # fmt: skip
    table = pd.read_csv(folder / "metrics.csv")
    assert list(table["epoch"]) == [1, 2, 3]
    assert {"estimated_cra_0.3", "validation_accuracy", "validation_estimated_cra_1.58"} <= set(
        table
    )
    layers = pd.read_csv(folder / "layers.csv")
    assert sorted(set(layers["epoch"])) == [0, 1, 2, 3]
    assert layers.loc[layers["epoch"] == 0, "predicted_log10_second_moment"].notna().any()
    assert layers.loc[layers["epoch"] > 0, "predicted_log10_second_moment"].isna().all()
    certificates = pd.read_csv(folder / "certificates.csv")
    test = data.load("digits").test
    assert list(certificates["index"]) == list(range(len(test)))
    assert list(certificates["label"]) == list(test.labels)
    summary = json.loads((folder / "summary.json").read_text())
    right = certificates["label"] == certificates["prediction"]
    assert summary["test_accuracy"] == pytest.approx(right.mean())
    assert summary["cra_0.3"] == pytest.approx((right & (certificates["radius"] > 0.3)).mean())
    assert summary["train_images"] + round(0.1 * 1437) == 1437
    assert 1 <= summary["lipschitz_upper_bound"] < 1 + 1e-9


@pytest.mark.parametrize("model", ["aol", "sll"])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_an_interrupted_training_goes_on_to_the_same_bits(model, epoch, monkeypatch):
    keys = [*SMALL, f"model={model}"]
    undisturbed = lipexp.run([*keys, "outputs=a"])
    interrupt_at(monkeypatch, epoch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        lipexp.run([*keys, "outputs=b"])
    resumed = lipexp.run([*keys, "outputs=b"])
    assert contents(resumed) == contents(undisturbed)
    pd.testing.assert_frame_equal(metrics(resumed), metrics(undisturbed), check_exact=True)


def test_rows_written_behind_the_last_checkpoint_are_written_once(monkeypatch):
    undisturbed = lipexp.run([*SMALL, "outputs=a"])
    save = checkpoint.save

    def killed(path, training, identity):
        if training.epoch == 2:
            monkeypatch.setattr(train_task.checkpoint, "save", save)
            raise KeyboardInterrupt
        save(path, training, identity)

    monkeypatch.setattr(train_task.checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        lipexp.run([*SMALL, "outputs=b"])
    (half,) = (p.parent for p in (undisturbed.parents[3] / "b").rglob("metrics.csv"))
    assert list(pd.read_csv(half / "metrics.csv")["epoch"]) == [1, 2]
    with (half / "metrics.csv").open("a") as file:
        file.write("3,1")  # a line cut off
    resumed = lipexp.run([*SMALL, "outputs=b"])
    assert contents(resumed) == contents(undisturbed)
    pd.testing.assert_frame_equal(metrics(resumed), metrics(undisturbed), check_exact=True)


def test_a_full_disk_harms_nothing_and_the_run_goes_on(monkeypatch, capsys):
    undisturbed = lipexp.run([*SMALL, "outputs=a"])
    write, calls = checkpoint.write_bytes, []

    def full(content, path):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(content, path)

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    assert guarded(["run", *SMALL, "outputs=b"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "disk is full" in error
    assert guarded(["run", *SMALL, "outputs=b"]) == 0
    (resumed,) = (p.parent for p in (undisturbed.parents[3] / "b").rglob("summary.json"))
    assert contents(resumed) == contents(undisturbed)


def test_a_loss_that_is_not_finite_stops_the_run_with_step_rate_and_checkpoint(monkeypatch):
    loss = loop.offset_cross_entropy

    def spoilt(scores, labels, offset, temperature):
        calls.append(1)
        value = loss(scores, labels, offset, temperature)
        return value * (float("nan") if len(calls) == 8 else 1.0)

    calls: list[int] = []
    monkeypatch.setattr(loop, "offset_cross_entropy", spoilt)
    with pytest.raises(RunError, match=r"step 8 \(epoch 2\), learning rate .* last good checkpoin"):
        lipexp.run(SMALL)


@pytest.mark.parametrize("cut", [0, 5, 100, -10])
def test_a_damaged_checkpoint_is_named_with_what_to_do(cut, monkeypatch, capsys):
    interrupt_at(monkeypatch, 2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        lipexp.run(SMALL)
    (path,) = (p for p in data_files() if p.name == "checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:cut])
    assert guarded(["run", *SMALL]) == 2
    error = capsys.readouterr().err.splitlines()
    assert "checkpoint.safetensors" in error[-1]
    assert "force=true" in error[-1]
    assert guarded(["run", *SMALL, "force=true", "-q"]) == 0


def data_files():
    from pathlib import Path

    return Path("outputs").rglob("*")


def test_no_test_image_decides_anything(monkeypatch):
    """Permuted test labels leave the weights what they are."""
    plain = lipexp.run([*SMALL, "outputs=a"])
    load = data.load

    def permuted(name, **keywords):
        found = load(name, **keywords)
        labels = np.roll(found.test.labels, 17)
        test = data.Split(found.test.inputs, labels, found.test.scale)
        return found.__class__(**{**vars(found), "test": test})

    monkeypatch.setattr(train_task.data, "load", permuted)
    other = lipexp.run([*SMALL, "outputs=b"])
    assert (plain / "checkpoint.safetensors").read_bytes() == (
        other / "checkpoint.safetensors"
    ).read_bytes()
    assert (plain / "certificates.csv").read_bytes() != (other / "certificates.csv").read_bytes()


def test_other_radii_are_the_same_run_with_other_shares(capsys):
    folder = lipexp.run(SMALL)
    before = contents(folder)
    assert guarded(["run", *SMALL, "task.eps=[1/7]"]) == 0
    shown = capsys.readouterr().out
    table = pd.read_csv(folder / "certificates.csv")
    share = (table["radius"] > 1 / 7).mean()
    assert f"CRA@1/7 {100 * share:.2f} %" in shown
    assert "done already" in shown
    assert contents(folder) == before


def test_certificates_cut_short_are_not_believed(capsys):
    folder = lipexp.run(SMALL)
    path = folder / "certificates.csv"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-7]))
    assert guarded(["run", *SMALL]) == 2
    assert "has 353 rows of 360" in capsys.readouterr().err


@pytest.mark.parametrize("gone", ["certificates.csv", "plots"])
def test_what_was_taken_away_is_made_again(gone, monkeypatch):
    folder = lipexp.run(SMALL)
    before = contents(folder)
    if gone == "plots":
        shutil.rmtree(folder / gone)
    else:
        (folder / gone).unlink()
    trained = []
    monkeypatch.setattr(loop.Training, "_train_on", lambda *_: trained.append(1))
    lipexp.run(SMALL)
    assert not trained
    assert contents(folder) == before
    assert (folder / "plots" / "learning_curves.png").exists()


def test_results_stand_without_the_checkpoint_and_only_the_network_is_gone(capsys):
    folder = lipexp.run(SMALL)
    (folder / "checkpoint.safetensors").unlink()
    capsys.readouterr()
    assert guarded(["run", *SMALL]) == 0
    assert "done already" in capsys.readouterr().out
    assert not (folder / "checkpoint.safetensors").exists()
    with pytest.raises(UserError, match=r"no checkpoint\.safetensors, where a training keeps"):
        lipexp.load(folder)


def test_a_network_at_chance_is_warned_of():
    labels = pd.Series([0, 1, 1, 2])
    assert "50.00 %" in chance_warning(0.5, labels)
    assert chance_warning(0.51, labels) is None


def test_the_loaded_network_is_the_certified_one():
    folder = lipexp.run(SMALL)
    network = lipexp.load(folder)
    test = data.load("digits").test
    scores = network(torch.from_numpy(test.pixels(slice(None))).float())
    table = pd.read_csv(folder / "certificates.csv")
    assert (scores.argmax(1).numpy() == table["prediction"]).mean() > 0.99
    again = lipexp.certify(network, test.inputs[:20], test.labels[:20], ["0.3"], scale=16)
    np.testing.assert_allclose(again["radius"], table["radius"][:20], rtol=0, atol=1e-9)
    assert lipexp.lipschitz_bound(network) < 1 + 1e-9
    with pytest.raises(UserError, match="not the folder of a run"):
        lipexp.load(folder.parent)


def test_an_init_that_loses_the_signal_is_warned_of(capsys):
    keys = ["depth=60", "width=16", "init=normal", "activation=relu", "task.epochs=1"]
    assert guarded(["run", "task=train", *keys]) == 0
    told = capsys.readouterr()
    assert "will not learn" in told.err
    assert "will not learn" in told.out


RECIPES = sorted(p.stem for p in (conf_folder() / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_on_two_batches(name):
    text = (conf_folder() / "experiment" / f"{name}.yaml").read_text()
    keys = [f"experiment={name}", "dataset=digits", "dataset.verify=true"]
    sweep = yaml.safe_load(text).get("hydra", {}).get("sweeper", {}).get("params", {})
    if "task: train" in text:
        keys += ["task.epochs=1", "batch=719", "task.eps=[0.3]"]
        keys += ["depth=5", "width=4"] if "lipconvnet" in text else ["width=64"]
    else:
        keys += ["depth=3", "batch=2"]
    if sweep:
        typed = {key.partition("=")[0] for key in keys}
        first = [f"{k}={str(v).split(',')[0]}" for k, v in sweep.items() if k not in typed]
        assert guarded(["run", "-m", *keys, *first]) == 0
        assert guarded(["run", *keys]) == 2
        (folder,) = Path("outputs/runs").glob("*/*")
    else:
        folder = lipexp.run(keys)
    assert (folder / "summary.json").exists()


def test_a_small_convolutional_network_learns_digits():
    folder = lipexp.run(
        ["task=train", "network=lipconvnet", "depth=5", "width=4", "model.rows=false",
         "task.epochs=2", "task.lr=0.02", "task.eps=[0.1]"]
    )  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["test_accuracy"] > 0.3
    assert summary["lipschitz_upper_bound"] < 1 + 1e-8
    layers = pd.read_csv(folder / "layers.csv")
    assert len(layers[layers["epoch"] == 0]) == 6
