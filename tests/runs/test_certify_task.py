"""Certifying and attacking: what is written, what goes on after a stop, and what must shout."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import lipexp
from lipexp import data
from lipexp.certification import attack as attack_module
from lipexp.certification import lower_bounds
from lipexp.errors import RunError, UserError
from lipexp.runs.certify import attacks as certify_attacks
from lipexp.runs.certify import folder as certify_folder
from lipexp.runs.certify import task as certify_task
from lipexp.runs.certify.folder import certify
from lipexp.runs.certify.parts import FOLDER, Parts
from lipexp.runs.certify.request import Attacks, of_run, of_weights

SMALL = ["task=train", "depth=2", "width=16", "task.epochs=2", "batch=256", "task.lr=0.01"]
QUICK = Attacks(points=130, steps=6, restarts=2)
EPS = ("0.3", "1.58")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training of digits, which no test may write to."""
    return lipexp.run([*SMALL, f"outputs={tmp_path_factory.mktemp('trained')}"])


@pytest.fixture
def run(trained, tmp_path):
    """The same in a folder of its own."""
    import shutil

    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def read(folder):
    table = pd.read_csv(folder / "certificates.csv")
    return table, json.loads((folder / "summary.json").read_text())


def files(folder):
    """What two certifications of the same request share, to the bit."""
    summary = json.loads((folder / "summary.json").read_text())
    timed = {k: v for k, v in summary.items() if k != "certify_seconds"}
    plots = {p.name: p.read_bytes() for p in (folder / "plots").iterdir()}
    return (folder / "certificates.csv").read_bytes(), timed, plots


def test_a_certification_adds_what_is_promised_and_keeps_what_was_there(run):
    before, was = read(run)
    outcome = certify(of_run(str(run), QUICK))
    assert outcome.error is None
    table, summary = read(run)
    pd.testing.assert_frame_equal(table[list(before)], before, check_exact=True)
    assert [name for name in table if name not in before] == [
        "attack_distance", "broken_0.3", "broken_1.58",
    ]  # fmt: skip
    tried, rest = table[:130], table[130:]
    assert rest[["attack_distance", "broken_0.3", "broken_1.58"]].isna().all(axis=None)
    for eps in EPS:
        broken = tried[f"broken_{eps}"].astype(bool)
        right = tried["margin"] > 0
        assert not (tried[f"certified_{eps}"] & broken).any()
        assert (broken | right).all()
        assert summary[f"attacked_accuracy_{eps}"] == pytest.approx(1 - broken.mean())
        clean, least = right.mean(), tried[f"certified_{eps}"].mean()
        assert least <= summary[f"attacked_accuracy_{eps}"] <= clean
        assert summary[f"cra_{eps}"] == (table["radius"] > float(eps)).mean()
    assert summary["attack_successes_inside_radius"] == 0
    # of two restarts each; one that breaks nothing carries out both
    held = (tried["margin"] > 0) & (tried["radius"] > 0)
    inside = held.sum() + sum(tried[f"certified_{eps}"].sum() for eps in EPS)
    assert summary["attacks_inside_radius"] == 2 * inside
    assert 0 < summary["lipschitz_lower_bound"] <= summary["lipschitz_upper_bound"]
    assert {**was, **summary} == summary
    assert not (run / FOLDER).exists()
    assert not (run / "attack_successes.safetensors").exists()
    assert {p.name for p in (run / "plots").iterdir()} >= {
        "attacked_accuracy.png", "closest_to_breaking.png", "radius_histogram.png",
    }  # fmt: skip
    log = (run / "log.txt").read_text()
    assert f"certify: {outcome.text.splitlines()[0]}" in log
    assert "accuracy" in log.split("certify:")[0]


def test_the_closing_line_says_whole_set_attacked_ones_and_both_bounds(run):
    line = certify(of_run(str(run), QUICK)).text.splitlines()[0]
    _, summary = read(run)
    assert line.startswith("360 test images, K <= 1 + ")
    assert f"CRA@0.3 {100 * summary['cra_0.3']:.2f} %" in line
    assert "attacked (the first 130): " in line
    assert f"{100 * summary['attacked_accuracy_1.58']:.2f} % at 1.58" in line
    assert line.endswith(f"attacks inside radius: 0 of {summary['attacks_inside_radius']:,}")
    every = certify(of_run(str(run), replace(QUICK, points="all"))).text
    assert "attacked (all): " in every


def test_a_broken_distance_is_that_of_an_input_of_another_class(run, monkeypatch):
    """Recounted at points handed on: the distance is theirs, and nearer than the attack's own."""
    seen = []
    toward = certify_attacks.toward

    def watching(steps, inputs, broken, labels):
        nearer = toward(steps, inputs, broken, labels)
        seen.append((inputs, broken, nearer, labels))
        return nearer

    monkeypatch.setattr(certify_attacks, "toward", watching)
    certify(of_run(str(run), QUICK))
    table, _ = read(run)
    network = lipexp.load(run).double()
    distances = set()
    for inputs, broken, nearer, labels in seen:
        assert (network(nearer).argmax(1) != labels).all()
        assert nearer.min() >= 0
        assert nearer.max() <= 1
        near, far = ((x - inputs).flatten(1).norm(dim=1) for x in (nearer, broken))
        assert (near <= far * (1 + 1e-12)).all()
        assert (near < far).any()
        distances |= set(near.tolist())
    found = table["attack_distance"][np.isfinite(table["attack_distance"])]
    assert len(found[found > 0]) > 20
    for distance in found[found > 0]:
        assert min(abs(distance - other) for other in distances) < 1e-12
    assert (table["attack_distance"] == 0).sum() == (table["margin"][:130] <= 0).sum()


def test_the_same_request_is_done_and_another_one_is_not(run):
    first = certify(of_run(str(run), QUICK))
    before = files(run)
    again = certify(of_run(str(run), QUICK))
    assert (first.fresh, again.fresh) == (True, False)
    assert again.text.splitlines()[0] == first.text.splitlines()[0]
    assert "done already" in again.text
    assert certify(of_run(str(run), QUICK, force=True)).fresh
    assert files(run) == before
    others = ({"steps": 7}, {"restarts": 1}, {"seed": 1}, {"points": 20}, {"eps": ("0.1",)})
    asked = [of_run(str(run), replace(QUICK, **other)) for other in ({}, *others)]
    assert len({one.identity() for one in asked}) == 6
    assert of_run(str(run), replace(QUICK, device="cpu")).identity() == asked[0].identity()
    for one in asked[-2:]:
        assert certify(one).fresh
    table, summary = read(run)
    assert [name for name in table if name.startswith("broken_")] == ["broken_0.1"]
    assert {"certified_0.1", "certified_0.3", "certified_1.58"} <= set(table)
    assert [key for key in summary if key.startswith("attacked_accuracy_")] == [
        "attacked_accuracy_0.1"
    ]
    (run / "plots" / "attacked_accuracy.png").unlink()
    assert certify(of_run(str(run), replace(QUICK, eps=("0.1",)))).fresh


@pytest.fixture
def stopping_attacks(monkeypatch):
    """From its call on attacks are listed by their slices, and the second one is interrupted."""
    work = certify_task.Certification._attack
    found = []

    def stopping(self, rows, table):
        found.append(rows)
        if len(found) == 2:
            raise KeyboardInterrupt
        return work(self, rows, table)

    def watch():
        monkeypatch.setattr(certify_task.Certification, "_attack", stopping)
        return found

    return watch


def test_batches_and_stops_change_nothing(run, tmp_path, stopping_attacks):
    import shutil

    other = shutil.copytree(run, tmp_path / "other")
    certify(of_run(str(run), QUICK))
    calls = stopping_attacks()
    with pytest.raises(KeyboardInterrupt, match=r"\d parts kept; the same command goes on"):
        certify(of_run(str(other), QUICK))
    parts = sorted(p.name for p in (other / FOLDER).iterdir())
    assert "attacks-0000000-0000100.safetensors" in parts
    assert not (other / ".lock").exists()
    certify(of_run(str(other), QUICK))
    assert calls == [slice(0, 100), slice(100, 130), slice(100, 130)]
    assert files(other) == files(run)
    assert not (other / FOLDER).exists()


@pytest.mark.parametrize("foreign", [False, True])
def test_a_forced_certification_that_was_stopped_is_not_done_and_goes_on(
    run, tmp_path, stopping_attacks, foreign
):
    def asked(**how):
        if not foreign:
            return of_run(str(run), QUICK, **how)
        weights = run / "checkpoint.safetensors"
        return of_weights(str(weights), str(run), str(tmp_path / "out"), QUICK, **how)

    folder = certify(asked()).folder
    before, (_, was) = files(folder), read(folder)
    calls = stopping_attacks()
    with pytest.raises(KeyboardInterrupt, match=r"\d parts kept; without --force the same command"):
        certify(asked(force=True))
    del was["certify_identity"]
    assert read(folder)[1] == was  # what was found stands until it is replaced
    assert certify(asked()).fresh
    assert calls == [slice(0, 100), slice(100, 130), slice(100, 130)]
    assert files(folder) == before
    assert not (folder / FOLDER).exists()
    calls.clear()
    assert certify(asked()).fresh is False
    with pytest.raises(KeyboardInterrupt):
        certify(asked(force=True))
    calls[:] = [None] * 2
    assert certify(asked(force=True)).fresh
    assert calls[2:] == [slice(0, 100), slice(100, 130)]  # what was kept is discarded, too


def test_parts_of_weights_with_other_last_digits_are_made_anew(run, monkeypatch):
    work, made = certify_task.Certification._certify, []
    monkeypatch.setattr(certify_task.Certification, "_lipschitz", interrupted)

    def counting(self, rows):
        made.append(rows)
        return work(self, rows)

    monkeypatch.setattr(certify_task.Certification, "_certify", counting)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            certify(of_run(str(run), QUICK))
    assert len(made) == 1
    steps_of = certify_task.steps_of

    def another_machine(module):
        steps = steps_of(module)
        next(step.module for step in steps if hasattr(step.module, "_kept"))._kept.mul_(1 - 2**-52)
        return steps

    monkeypatch.setattr(certify_task, "steps_of", another_machine)
    with pytest.raises(KeyboardInterrupt):
        certify(of_run(str(run), QUICK))
    assert len(made) == 2


def interrupted(*_):
    raise KeyboardInterrupt


def test_weights_that_change_after_they_were_hashed_are_not_certified(run, monkeypatch):
    load = certify_task.load

    def slow(folder):
        network = load(folder)
        with (run / "checkpoint.safetensors").open("ab") as file:
            file.write(b" ")
        return network

    before = files(run)
    monkeypatch.setattr(certify_task, "load", slow)
    with pytest.raises(UserError, match="was changed in the meantime; certify again"):
        certify(of_run(str(run), QUICK))
    assert files(run) == before
    assert not (run / FOLDER).exists()


@pytest.mark.parametrize(
    ("line", "edited", "said"),
    [
        ("activation: maxmin", "activation: abs", "with activation=maxmin, .* activation=abs"),
        ("rows: auto", "rows: false", "with model.rows=auto, .* model.rows=False"),
    ],
)
def test_weights_are_not_certified_as_another_network_than_they_were_trained_as(
    run, line, edited, said
):
    config = run / "config.yaml"
    text = config.read_text()
    assert f"\n  {line}\n" in text or f"\n{line}\n" in text
    head, _, rest = text.partition("\n")
    config.write_text(f"{head}\n{rest.replace(line, edited)}")
    with pytest.raises(UserError, match=said):
        certify(of_run(str(run), QUICK))
    with pytest.raises(UserError, match=said):
        lipexp.load(run)


def test_parts_of_another_request_and_damaged_ones_are_not_believed(tmp_path):
    parts = Parts(tmp_path, "one")
    parts.write("a", {"x": torch.arange(3.0)})
    assert parts.read("a")["x"].tolist() == [0, 1, 2]
    assert parts.read("b") is None
    assert Parts(tmp_path, "two").read("a") is None
    (path,) = (tmp_path / FOLDER).iterdir()
    whole = path.read_bytes()
    path.with_name("b.safetensors").write_bytes(whole)
    assert parts.read("b") is None
    assert len(parts) == 1
    for damage in (
        b"",
        whole[:-1],
        whole[:40],
        b"junk",
        whole[:-8] + b"\x00\x00\x00A" + whole[-4:],
    ):
        path.write_bytes(damage)
        assert parts.read("a") is None


def broken_inside(*images: int):
    """An attack that claims its own ball's centre to be broken for some images."""
    real = attack_module.attack

    def lying(steps, inputs, labels, radii, *, first=0, **how):
        found = real(steps, inputs, labels, radii, first=first, **how)
        margin = found.margin.clone()
        for image in images:
            if first <= image < first + len(margin) and radii[image - first] > 0:
                margin[image - first] = -1.0
        return replace(found, margin=margin)

    return lying


def test_an_attack_inside_a_proven_radius_is_shouted_and_its_points_are_kept(run, monkeypatch):
    table, _ = read(run)
    images = [k for k in table.index[table["radius"] > 0.3] if k < 130][:2]
    monkeypatch.setattr(attack_module, "attack", broken_inside(*images))
    outcome = certify(of_run(str(run), QUICK))
    assert outcome.status == 1
    line = str(outcome.error)
    assert line.startswith("THE CERTIFICATES ARE WRONG: ")
    assert f"on image {images[0]}, {images[1]}; the points are in {run}/attack_succ" in line
    assert outcome.text  # and the tables are there
    written, summary = read(run)
    assert written.loc[images, "broken_0.3"].astype(bool).all()
    assert summary["attack_successes_inside_radius"] >= 4  # inside, and at 0.3
    kept = load_file(run / "attack_successes.safetensors")
    assert kept["index"].tolist() == images
    inputs = data.load("digits").test.pixels(images)
    np.testing.assert_array_equal(kept["inputs"].numpy(), inputs)
    size = (kept["broken"] - kept["inputs"]).flatten(1).norm(dim=1)
    assert torch.allclose(size, kept["distance"])
    assert (kept["distance"] < kept["radius_tight"]).all()
    assert "THE CERTIFICATES ARE WRONG" in (run / "log.txt").read_text()
    assert certify(of_run(str(run), QUICK)).status == 1  # done, and wrong still
    monkeypatch.undo()
    assert certify(of_run(str(run), QUICK, force=True)).status == 0
    assert not (run / "attack_successes.safetensors").exists()


def test_a_network_steeper_than_its_bound_is_shouted(run, monkeypatch):
    def steep(steps, inputs, **how):
        return torch.full((len(inputs),), 1.01, dtype=torch.float64)

    monkeypatch.setattr(lower_bounds, "lipschitz_lower_bound", steep)
    outcome = certify(of_run(str(run), QUICK))
    assert outcome.status == 1
    assert "Lipschitz constant of 1.01 was found above the bound" in str(outcome.error)


def test_radii_that_are_too_large_are_found_out_by_the_real_attack(run, monkeypatch):
    """Three times the proven radius: what is certified there breaks, and is said to."""
    certificates = certify_task.certificates_of

    def bold(*arguments, **keywords):
        table = certificates(*arguments, **keywords)
        table["radius"] *= 3
        table["radius_tight"] *= 3
        return table

    monkeypatch.setattr(certify_task, "certificates_of", bold)
    outcome = certify(of_run(str(run), replace(QUICK, steps=20)))
    assert outcome.status == 1
    assert read(run)[1]["attack_successes_inside_radius"] > 20


def test_a_try_outside_its_ball_proves_nothing_and_is_said_to(run, monkeypatch):
    real = attack_module.attack

    def jumping(*arguments, **how):
        found = real(*arguments, **how)
        return replace(found, distance=found.distance + 1e-3)

    monkeypatch.setattr(attack_module, "attack", jumping)
    outcome = certify(of_run(str(run), QUICK))
    assert isinstance(outcome.error, RunError)
    assert "out of its ball" in str(outcome.error)
    assert not any(name.startswith("broken") for name in read(run)[0])


@pytest.mark.parametrize("eps", ["0.1", "0.3", "36/255", "1/3", "1.58", "1e-300"])
def test_the_ball_of_an_eps_is_the_largest_inside_it(eps):
    size = certify_attacks.within(Fraction(eps))
    assert Fraction(size) <= Fraction(eps) < Fraction(np.nextafter(size, 1e9))


def test_infinite_radii_are_attacked_in_the_whole_box_and_no_farther():
    table = pd.DataFrame({"radius": [np.inf, 0.5, 0.0], "radius_tight": [np.inf, 0.6, 0.0]})
    (_, boxed), *_ = certify_attacks.balls(table, [], (1, 8, 8), True)
    (_, free), *_ = certify_attacks.balls(table, [], (54,), False)
    assert boxed.tolist() == [8.0, 0.6 * (1 - 1e-9), 0.0]
    assert free[0] == 1e6


def test_a_full_disk_harms_nothing_and_the_certification_goes_on(run, monkeypatch):
    before = read(run)
    write = certify_folder.write_table

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(certify_folder, "write_table", full)
    outcome = certify(of_run(str(run), QUICK))
    assert outcome.status == 1
    assert "disk is full" in str(outcome.error)
    pd.testing.assert_frame_equal(read(run)[0], before[0])
    monkeypatch.setattr(certify_folder, "write_table", write)
    monkeypatch.setattr(certify_task, "attack_batch", None)  # all of it is on disk
    assert certify(of_run(str(run), QUICK)).error is None


@pytest.mark.parametrize("kind", [ZeroDivisionError, SystemExit])
def test_what_nobody_foresaw_is_one_line_and_a_trace_behind_the_log(run, monkeypatch, kind):
    def breaking(*_, **__):
        raise kind("so it is\nand more")

    monkeypatch.setattr(certify_task, "attack_batch", breaking)
    outcome = certify(of_run(str(run), QUICK))
    assert outcome.line.startswith(f"certifying broke ({kind.__name__}: so it is); the trace is in")
    log = (run / "log.txt").read_text()
    assert "Traceback" in log
    assert "accuracy" in log  # what the training told


def test_weights_from_elsewhere_have_the_certificates_of_the_run_they_came_from(run, tmp_path):
    certify(of_run(str(run), QUICK))
    network = lipexp.load(run)
    torch.save({"state_dict": network.state_dict(), "epoch": 2}, tmp_path / "net.pt")
    save_file(network.double().state_dict(), tmp_path / "net.safetensors")
    sources = [tmp_path / "net.pt", tmp_path / "net.safetensors", run / "checkpoint.safetensors"]
    for number, weights in enumerate(sources):
        out = tmp_path / f"out{number}"
        outcome = certify(of_weights(str(weights), str(run), str(out), QUICK))
        assert outcome.error is None
        pd.testing.assert_frame_equal(read(out)[0], read(run)[0], check_exact=True)
        assert read(out)[1]["attacked_accuracy_0.3"] == read(run)[1]["attacked_accuracy_0.3"]
        assert outcome.folder == out
    again = certify(of_weights(str(sources[0]), str(out / "config.yaml"), str(out), QUICK))
    assert again.fresh  # other bytes
    assert not certify(of_weights(str(sources[0]), str(run), str(out), QUICK)).fresh


def test_digits_behind_those_of_float32_count(run, tmp_path):
    network = lipexp.load(run).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1e-9 * torch.arange(parameter.numel()).view_as(parameter).cos()
    torch.save(network.state_dict(), tmp_path / "net.pt")
    out = tmp_path / "out"
    certify(of_weights(str(tmp_path / "net.pt"), str(run), str(out), replace(QUICK, points=1)))
    test = data.load("digits").test
    expected = lipexp.certify(network, test.inputs, test.labels, ["0.3"], scale=test.scale)
    for name in ("margin", "slack", "radius", "radius_tight"):
        assert (read(out)[0][name] == expected[name]).all()
    assert (read(run)[0]["margin"] != expected["margin"]).mean() > 0.9


def test_weights_that_cannot_be_certified_leave_nothing_behind(run, tmp_path):
    state = lipexp.load(run).state_dict()
    state["body.layer1.weight"][0, 0] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    asked = of_weights(str(tmp_path / "nan.pt"), str(run), str(tmp_path / "out" / "there"), QUICK)
    with pytest.raises(UserError, match=r"body\.layer1: weight is NaN or infinite"):
        certify(asked)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda s: s.__class__(s.inputs, s.labels + 3, s.scale), "label 1[0-2] of input"),
        (lambda s: s.__class__(s.inputs, s.labels, 8.0), r"pixels must be in \[0, 1\]"),
        (lambda s: s.__class__(s.inputs - 1, s.labels, 16.0), r"pixels must be in \[0, 1\]"),
        (lambda s: s.__class__(s.inputs[:, :, :7], s.labels, 16.0), "do not fit"),
    ],
    ids=["labels", "bright", "negative", "shape"],
)
def test_a_test_set_that_makes_no_sense_is_one_line_before_anything_is_written(
    run, monkeypatch, change, line
):
    load = data.load

    def changed(name, **keywords):
        found = load(name, **keywords)
        return found.__class__(**{**vars(found), "test": change(found.test)})

    before = files(run)
    monkeypatch.setattr(certify_task.data, "load", changed)
    with pytest.raises(UserError, match=line):
        certify(of_run(str(run), QUICK))
    assert files(run) == before
    assert not (run / FOLDER).exists()


def test_a_table_is_certified_outside_the_box(tmp_path, monkeypatch):
    """Inputs that are no pixels: no clamping, rows instead of images."""
    monkeypatch.setattr(data.DATASETS, "_entries", dict(data.DATASETS._entries))
    (tmp_path / "rows.py").write_text(TABLE)
    keys = ["plugins=[rows.py]", "dataset=rows", "task.probe_epochs=[]"]
    run = lipexp.run([*SMALL, *keys])
    outcome = certify(of_run(str(run), replace(QUICK, points=50)))
    assert outcome.error is None
    table, summary = read(run)
    assert summary["attack_successes_inside_radius"] == 0
    assert table["attack_distance"][:50].notna().all()
    assert (run / "plots" / "closest_to_breaking.png").exists()


TABLE = """
import numpy as np
from lipexp.data import DATASETS
from lipexp.data.dataset import Split, assemble

@DATASETS.register("rows", "two clouds", shape=(6,), classes=2, mean=(), scale=1.0, image=False)
def load(folder, verify):
    def split(count, seed):
        g = np.random.default_rng(seed)
        labels = g.integers(0, 2, count)
        inputs = 3 * g.standard_normal((count, 6)) + 4 * labels[:, None]
        return Split(inputs.astype(np.float32), labels)
    return assemble("rows", split(600, 0), split(80, 1), verified=True)
"""
