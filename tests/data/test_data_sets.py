"""Every data set: what is loaded, what the registry says of it, and each refusal in one line."""

from __future__ import annotations

import gzip
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import fetch_covtype, load_digits

import lipexp.data
from lipexp.data import DATASETS, data_folder, digits, draw_inputs, gaussian_inputs, load, on_disk
from lipexp.data.dataset import stratified_split
from lipexp.errors import UserError
from lipexp.streams import stream
from tests.data.data_fakes import idx, put, write_covertype

FAKES = ["mnist", "cifar10", "covertype"]


@pytest.fixture(params=FAKES)
def fake(request) -> tuple[str, Path]:
    """Each set that is read from the data folder: its name, and a folder with a small one."""
    return request.param, request.getfixturevalue(f"fake_{request.param}")


def refusal(name: str, **options) -> str:
    """The one line with which a set is refused."""
    with pytest.raises(UserError) as caught:
        load(name, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert not line.endswith(".")
    return line


# ---- what is loaded


def test_digits_are_the_embedded_ones_split_for_ever():
    data = load("digits")
    assert data.count == (1437, 360)
    assert data.fingerprint == "417b3bb7f5d98d03"
    assert data.train.inputs.max() == 16
    assert data.verified
    ours = np.concatenate([data.train.inputs, data.test.inputs]).reshape(-1, 64)
    labels = np.concatenate([data.train.labels, data.test.labels])
    theirs = load_digits()
    assert sorted(map(tuple, np.column_stack([ours, labels]))) == sorted(
        map(tuple, np.column_stack([theirs.data, theirs.target]).astype(int))
    )


def test_the_split_of_the_digits_takes_each_class_in_proportion():
    data = load("digits")
    total = np.bincount(np.concatenate([data.train.labels, data.test.labels]))
    share = total * 360 / 1797
    assert np.all(np.abs(np.bincount(data.test.labels) - share) < 1)


def test_a_set_is_what_its_facts_say(fake):
    name, folder = fake
    for data in (load(name, folder=folder), load("digits")):
        facts = DATASETS.entry(data.name).facts
        assert data.shape == facts["shape"] == data.train.inputs.shape[1:]
        assert data.shape == data.test.inputs.shape[1:]
        assert (data.classes, data.mean, data.scale) == (
            facts["classes"],
            facts["mean"],
            facts["scale"],
        )
        assert facts["image"] == (len(data.shape) == 3)
        assert len(data.mean) == (data.shape[0] if facts["image"] else 0)
        assert data.train.inputs.dtype == (np.uint8 if facts["image"] else np.float32)
        assert data.train.labels.dtype == np.int64
        assert all(split.inputs.flags.writeable for split in (data.train, data.test))


def test_the_centring_constant_of_the_digits_is_their_training_mean():
    data = load("digits")
    assert data.mean == (round(data.train.pixels(slice(None)).mean(), 4),)


def test_the_images_and_labels_of_mnist_are_those_of_its_files(fake_mnist):
    data = load("mnist", folder=fake_mnist)
    raw = fake_mnist / "MNIST" / "raw"
    assert data.count == (20, 10)
    assert data.train.inputs.tobytes() == (raw / "train-images-idx3-ubyte").read_bytes()[16:]
    assert data.test.labels.tolist() == list((raw / "t10k-labels-idx1-ubyte").read_bytes()[8:])


def test_mnist_is_the_same_from_gz_files(fake_mnist):
    plain = load("mnist", folder=fake_mnist)
    for path in list((fake_mnist / "MNIST" / "raw").iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    packed = load("mnist", folder=fake_mnist)
    assert packed.fingerprint == plain.fingerprint
    assert packed.verified


def test_the_images_and_labels_of_cifar10_are_those_of_its_batches_in_order(fake_cifar10):
    data = load("cifar10", folder=fake_cifar10)
    assert data.count == (20, 3)
    for k in range(5):
        path = fake_cifar10 / "cifar-10-batches-py" / f"data_batch_{k + 1}"
        batch = pickle.loads(path.read_bytes())
        rows = slice(4 * k, 4 * k + 4)
        assert np.array_equal(data.train.inputs[rows].reshape(4, 3072), batch["data"])
        assert data.train.labels[rows].tolist() == batch["labels"]


def test_covertype_is_split_in_proportion_and_standardised_by_its_training_part(fake_covertype):
    data = load("covertype", folder=fake_covertype)
    assert data.count == (80, 20)
    assert np.bincount(data.test.labels).tolist() == [6, 6, 2, 2, 2, 1, 1]
    mean = data.train.inputs.mean(axis=0, dtype=np.float64)
    spread = data.train.inputs.std(axis=0, dtype=np.float64)
    assert np.abs(mean).max() < 1e-6
    assert np.abs(np.delete(spread, 7) - 1).max() < 1e-6
    assert not data.train.inputs[:, 7].any()
    # undone, it is the file's rows: standardisation is one affine map of both parts
    bunch = fetch_covtype(data_home=fake_covertype, download_if_missing=False)
    train, test = stratified_split(bunch.target, 20, stream(0, "covertype split"))
    exact = bunch.data - bunch.data[train].mean(axis=0)
    exact /= np.where(bunch.data[train].std(axis=0) > 0, bunch.data[train].std(axis=0), 1)
    assert np.allclose(data.test.inputs, exact[test], atol=1e-5)
    assert np.array_equal(data.test.labels, bunch.target[test] - 1)


def test_a_fingerprint_tells_sets_apart_that_differ_in_one_byte(fake_mnist):
    before = load("mnist", folder=fake_mnist)
    path = fake_mnist / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    after = load("mnist", folder=fake_mnist, verify=False)
    assert after.fingerprint != before.fingerprint
    assert re.fullmatch("[0-9a-f]{16}", after.fingerprint)
    assert not after.verified


def test_pixels_are_in_the_unit_interval_and_rows_are_as_they_are(fake_mnist, fake_covertype):
    images = load("mnist", folder=fake_mnist).train
    assert images.pixels(np.array([3])).dtype == np.float64
    assert np.array_equal(images.pixels(np.array([3, 1])), images.inputs[[3, 1]] / 255)
    rows = load("covertype", folder=fake_covertype).train
    assert np.array_equal(rows.pixels(slice(None)), rows.inputs)


@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any),
    share=st.floats(0, 1),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=50)
def test_a_stratified_split_is_a_partition_with_each_class_in_proportion(counts, share, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    wanted = int(share * len(labels))
    train, test = stratified_split(labels, wanted, stream(seed, "split"))
    assert sorted([*train, *test]) == list(range(len(labels)))
    assert len(test) == wanted
    taken = np.bincount(labels[test], minlength=len(counts))
    assert np.all(np.abs(taken - np.array(counts) * wanted / len(labels)) < 1)


# ---- what a probe draws


def test_a_draw_repeats_and_a_smaller_one_begins_a_larger_one():
    data = load("digits")
    inputs, labels = draw_inputs(data, 100, seed=7)
    assert (inputs.shape, inputs.dtype) == ((100, 1, 8, 8), np.float64)
    assert (labels.shape, labels.dtype) == ((100,), np.int64)
    assert inputs.min() == 0
    assert inputs.max() == 1
    for other, equal in (
        (draw_inputs(data, 100, seed=7), True),
        (draw_inputs(data, 100, 8), False),
    ):
        assert np.array_equal(other[0], inputs) == equal
    longer = draw_inputs(data, 1000, seed=7)
    assert np.array_equal(longer[0][:100], inputs)
    assert np.array_equal(longer[1][:100], labels)


def test_a_draw_of_all_is_every_training_row_once_with_its_label():
    data = load("digits")
    inputs, labels = draw_inputs(data, 1437, seed=0)
    drawn = np.column_stack([inputs.reshape(1437, -1) * 16, labels])
    rows = np.column_stack([data.train.inputs.reshape(1437, -1), data.train.labels])
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, rows.astype(float)))


def test_a_draw_of_more_than_there_is_is_one_line(fake_covertype):
    with pytest.raises(UserError, match=r"^batch=5000: digits has 1,437 training images$"):
        draw_inputs(load("digits"), 5000, seed=0)
    with pytest.raises(UserError, match=r"^batch=81: covertype has 80 training rows$"):
        draw_inputs(load("covertype", folder=fake_covertype), 81, seed=0)
    with pytest.raises(UserError, match=r"^batch=0: must be at least 1$"):
        draw_inputs(load("digits"), 0, seed=0)


def test_gaussian_inputs_have_mean_0_and_variance_1_and_no_class():
    data = load("gaussian", features=50)
    assert (data.shape, data.classes, data.mean, data.count) == ((50,), 0, (), (0, 0))
    inputs, labels = draw_inputs(data, 4000, seed=3)
    assert inputs.shape == (4000, 50)
    assert np.array_equal(inputs, gaussian_inputs(4000, 50, seed=3))
    assert np.array_equal(inputs[:10], gaussian_inputs(10, 50, seed=3))
    assert not np.array_equal(inputs[:10], gaussian_inputs(10, 50, seed=4))
    assert (labels == -1).all()
    # n = 200,000, seed 3: standard errors n^(-1/2) = 0.0022 and (2/n)^(1/2) = 0.0032
    assert abs(inputs.mean()) < 5 * 0.0022
    assert abs(inputs.var() - 1) < 5 * 0.0032


# ---- refusals


def test_a_missing_set_is_one_line_with_the_command_that_fetches_it(tmp_path, monkeypatch):
    assert refusal("mnist", folder=tmp_path) == (
        f"data set 'mnist' is not on disk (looked in {tmp_path}/MNIST/raw); "
        f"lipexp data mnist --download --folder {tmp_path}"
    )
    monkeypatch.setenv("LIPEXP_DATA_DIR", str(tmp_path))
    assert refusal("cifar10") == (
        f"data set 'cifar10' is not on disk (looked in {tmp_path}/cifar-10-batches-py); "
        "lipexp data cifar10 --download"
    )
    assert not list(tmp_path.iterdir())


def test_a_set_with_one_file_missing_is_one_line_that_names_it(fake_cifar10):
    (fake_cifar10 / "cifar-10-batches-py" / "data_batch_3").unlink()
    line = refusal("cifar10", folder=fake_cifar10)
    assert "is not on disk whole, data_batch_3 is missing (looked in " in line
    assert not on_disk("cifar10", fake_cifar10)


def test_a_set_that_does_not_match_names_verify_and_is_read_with_it(fake):
    name, folder = fake
    if name == "covertype":
        features, labels = np.ones((30, 54)), np.arange(30, dtype=np.int32) % 7 + 1
        write_covertype(folder, features, labels)
        expected = "30 rows, published are 100"
    else:
        path = folder / DATASETS.fact(name, "files")[0]
        content = path.read_bytes()
        place = len(content) // 2  # a pixel's byte in either format
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        expected = f"{path.name} has md5 "
    line = refusal(name, folder=folder)
    assert " is not the published one: " + expected in line
    assert line.endswith("; dataset.verify=false takes it as it is")
    assert not load(name, folder=folder, verify=False).verified


def test_digits_that_are_not_the_published_ones_are_refused(tmp_path, monkeypatch):
    table = np.loadtxt(digits.digits_file(), delimiter=",")
    table[5, 7] += 1
    np.savetxt(tmp_path / "digits.csv.gz", table, fmt="%d", delimiter=",")
    monkeypatch.setattr(digits, "digits_file", lambda: tmp_path / "digits.csv.gz")
    assert "dataset.verify=false" in refusal("digits")
    assert load("digits", verify=False).count == (1437, 360)
    for content, reason in (
        (b"1,2\n3,4\n", "digits.csv.gz has 2 columns, not 65"),
        (b"1,2\n3\n", "digits.csv.gz is not a table of small whole numbers"),
        (b"1,300\n", "digits.csv.gz is not a table of small whole numbers"),
    ):
        (tmp_path / "digits.csv.gz").write_bytes(gzip.compress(content))
        assert reason in refusal("digits")


@pytest.mark.parametrize("verify", [True, False])
def test_a_file_that_is_cut_short_is_one_line_without_a_useless_advice(fake, verify):
    name, folder = fake
    for file in DATASETS.fact(name, "files"):
        path = folder / file
        content = path.read_bytes()
        for kept in (len(content) - 1, len(content) // 2, 3, 0):
            path.write_bytes(content[:kept])
            line = refusal(name, folder=folder, verify=verify)
            assert " cannot be read: " in line
            assert path.name in line
            assert "verify" not in line
            assert f"lipexp data {name} --download" in line
        path.write_bytes(content)
    load(name, folder=folder, verify=verify)


@pytest.mark.parametrize("verify", [True, False])
def test_a_file_with_bytes_behind_its_end_is_one_line(fake, verify):
    name, folder = fake
    path = folder / DATASETS.fact(name, "files")[0]
    path.write_bytes(path.read_bytes() + b"\0")
    line = refusal(name, folder=folder, verify=verify)
    assert " cannot be read: " in line


def test_a_file_that_the_system_does_not_give_is_one_line(fake):
    name, folder = fake
    path = folder / DATASETS.fact(name, "files")[0]
    path.unlink()
    path.mkdir()
    assert f" cannot be read: {path.name}: Is a directory" in refusal(name, folder=folder)


def test_labels_and_images_that_do_not_fit_are_one_line(fake_mnist):
    raw = fake_mnist / "MNIST" / "raw"
    labels = raw / "train-labels-idx1-ubyte"
    images = raw / "train-images-idx3-ubyte"
    kept = labels.read_bytes(), images.read_bytes()
    for path, array, reason in (
        (labels, np.zeros(19), "20 training inputs have 19 labels"),
        (labels, np.full(20, 10), "a training label is outside 0..9"),
        (labels, np.zeros((20, 1)), "not an idx file of unsigned bytes, rank 1"),
        (images, np.zeros((20, 28, 27)), "the training inputs are 1x28x27, not 1x28x28"),
        (images, np.zeros(20), "not an idx file of unsigned bytes, rank 3"),
    ):
        put(path, idx(array.astype(np.uint8)))
        assert reason in refusal("mnist", folder=fake_mnist, verify=False)
        put(labels, kept[0])
        put(images, kept[1])
    put(images, idx(np.zeros((0, 28, 28), np.uint8)))
    line = refusal("mnist", folder=fake_mnist, verify=False)
    assert "train-images-idx3-ubyte is empty" in line


class Runs:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_batch_that_is_not_data_is_one_line_and_nothing_runs(fake_cifar10):
    path = fake_cifar10 / "cifar-10-batches-py" / "test_batch"
    images = np.zeros((2, 3072), np.uint8)
    trace = fake_cifar10 / "ran"
    for batch, reason in (
        (Runs(f"touch {trace}"), "test_batch: it names 'posix.system', which is not data"),
        ({"data": images, "labels": Runs(f"touch {trace}")}, "it names 'posix.system'"),
        ([1, 2], "test_batch: a list where a dictionary is expected"),
        ({"data": images}, "test_batch has no 'labels'"),
        ({"labels": [1, 2]}, "test_batch has no 'data'"),
        ({"data": images, "labels": [1]}, "2 images do not have a whole number each as label"),
        ({"data": images, "labels": [1, 0.5]}, "do not have a whole number each as label"),
        ({"data": images, "labels": "ab"}, "test_batch: a str where an array is expected"),
        ({"data": images, "labels": [1, 10]}, "a test label is outside 0..9"),
        ({"data": images, "labels": [1, -1]}, "a test label is outside 0..9"),
        ({"data": images[:, 1:], "labels": [1, 2]}, "images are uint8 (2, 3071)"),
        ({"data": images.astype(float), "labels": [1, 2]}, "images are float64 (2, 3072)"),
        ({"data": images[:0], "labels": images[:0, 0]}, "there are no test inputs"),
    ):
        path.write_bytes(pickle.dumps(batch))
        assert reason in refusal("cifar10", folder=fake_cifar10, verify=False)
    assert not trace.exists()


def test_tables_that_are_not_covertype_are_one_line(fake_covertype):
    features, labels = np.ones((10, 54)), np.arange(10, dtype=np.int32) % 7 + 1
    spoilt = features.copy()
    spoilt[3, 3] = np.nan
    for x, y, reason in (
        (features[:, 1:], labels, "the features are (10, 53), not (rows, 54)"),
        (features[0], labels, "the features are (54,), not (rows, 54)"),
        (features, labels[1:], "10 rows do not have a whole number each as label"),
        (features, labels / 2, "10 rows do not have a whole number each as label"),
        (features, labels - 1, "the labels are not within 1..7"),
        (features, labels + 1, "the labels are not within 1..7"),
        (features[:0], labels[:0], "the labels are not within 1..7"),
        (features[:1], labels[:1], "there are no test inputs"),
        (spoilt, labels, "a feature is not a number below 1,000,000,000"),
        (features * 1e300, labels, "a feature is not a number below 1,000,000,000"),
    ):
        write_covertype(fake_covertype, x, y)
        assert reason in refusal("covertype", folder=fake_covertype, verify=False)


def test_covertype_with_the_right_rows_and_other_classes_does_not_match(fake_covertype):
    labels = np.repeat(np.arange(1, 8, dtype=np.int32), (31, 29, 10, 10, 10, 5, 5))
    write_covertype(fake_covertype, np.ones((100, 54)), labels)
    line = refusal("covertype", folder=fake_covertype)
    assert "the classes do not have their published numbers of rows; dataset.verify=false" in line


def test_the_number_of_features_belongs_to_gaussian_alone():
    assert refusal("digits", features=3) == (
        "dataset=digits has no key 'features'; dataset=gaussian has"
    )
    assert refusal("gaussian") == "dataset.features=None: gaussian needs at least 1"
    assert refusal("gaussian", features=0) == "dataset.features=0: gaussian needs at least 1"


def test_an_unknown_set_is_one_line_with_the_nearest():
    assert refusal("minst").startswith("unknown data set 'minst'; nearest: mnist")


# ---- folders, plugins, imports


def test_the_folder_is_the_given_one_then_the_environments_then_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LIPEXP_DATA_DIR", raising=False)
    assert data_folder() == tmp_path / ".cache" / "lipexp"
    monkeypatch.setenv("LIPEXP_DATA_DIR", "")
    assert data_folder() == tmp_path / ".cache" / "lipexp"
    monkeypatch.setenv("LIPEXP_DATA_DIR", "~/data")
    assert data_folder() == tmp_path / "data"
    assert data_folder("~/other") == tmp_path / "other"
    monkeypatch.chdir(tmp_path)
    assert data_folder("here") == tmp_path / "here"


def test_a_plugins_set_is_loaded_like_the_others(monkeypatch, tmp_path):
    monkeypatch.setattr(DATASETS, "_entries", dict(DATASETS._entries))
    digits_of = load("digits")

    @DATASETS.register("mine", "my own", **DATASETS.entry("digits").facts)
    def mine(folder: Path, verify: bool) -> lipexp.data.Dataset:
        assert folder == tmp_path
        return digits_of

    assert load("mine", folder=tmp_path) is digits_of
    assert on_disk("mine")


def test_listing_and_loading_import_nothing_heavy():
    program = (
        "import sys, lipexp.data as data\n"
        "assert 'numpy' not in sys.modules\n"
        "data.load('digits'); data.status('digits')\n"
        "print(*(m for m in {heavy} if m in sys.modules))"
    )
    heavy = ["torch", "torchvision", "sklearn", "pandas", "scipy", "joblib", "matplotlib"]
    run = [sys.executable, "-W", "error", "-c"]
    loaded = subprocess.run([*run, program.format(heavy=heavy)], capture_output=True, text=True)
    assert (loaded.returncode, loaded.stdout.strip()) == (0, ""), loaded.stderr
    # the test can fail: numpy is seen
    loaded = subprocess.run([*run, program.format(heavy=["numpy"])], capture_output=True, text=True)
    assert loaded.stdout.strip() == "numpy"


def test_every_name_of_the_room_is_there():
    for name in dir(lipexp.data):
        assert getattr(lipexp.data, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = lipexp.data.nothing
