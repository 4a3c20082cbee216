"""The readers of idx files, pickles and joblib files, against files made by hand."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.data.files import Malformed, unpack
from lipexp.data.mnist import read_idx
from lipexp.data.pickles import Record, read_joblib, read_pickle, to_array

TYPES = ["u1", "i2", "<i4", ">i4", "<i8", "f4", ">f8"]


def idx(shape: tuple[int, ...], data: bytes, magic: bytes = b"\0\0\x08") -> bytes:
    return magic + struct.pack(f">B{len(shape)}I", len(shape), *shape) + data


@given(shape=st.lists(st.integers(1, 5), max_size=4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_an_idx_file_gives_back_the_array_it_was_made_of(shape, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    read = read_idx(idx(array.shape, array.tobytes()), array.ndim, "file")
    assert np.array_equal(read, array)
    assert read.flags.writeable


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "file is not an idx file of unsigned bytes, rank 2"),
        (b"\0\0\x08", "file is not an idx file of unsigned bytes, rank 2"),
        (idx((6,), b"abcdef"), "file is not an idx file of unsigned bytes, rank 2"),
        (idx((2, 1), b"ab", b"\0\1\x08"), "file is not an idx file of unsigned bytes, rank 2"),
        (idx((2, 1), bytes(8), b"\0\0\x0d"), "file is not an idx file of unsigned bytes, rank 2"),
        (idx((2, 3), b"")[:-1], "file is cut short in its header"),
        (idx((0, 2**32 - 1), b""), "file is empty"),
        (idx((2, 3), b"abcde"), "file has 5 bytes of data where its header states 6"),
        (idx((2, 3), b"abcdefg"), "file has 7 bytes of data where its header states 6"),
        (
            idx((2**32 - 1,) * 2, b"a"),
            "file has 1 bytes of data where its header states 18,446,744,065,119,617,025",
        ),
    ],
)
def test_a_wrong_idx_file_is_one_line(content, line):
    with pytest.raises(Malformed) as caught:
        read_idx(content, 2, "file")
    assert str(caught.value) == line


def test_a_gz_file_that_is_cut_short_is_one_line():
    packed = zlib.compress(b"a" * 1000, wbits=31)
    assert unpack(packed, "file.gz") == b"a" * 1000
    for damaged in (packed[:-1], packed[:5], b"", packed[:-8] + b"\0" * 8, b"x" + packed):
        if damaged:
            with pytest.raises(Malformed, match=r"^file\.gz is cut short or damaged$"):
                unpack(damaged, "file.gz")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", TYPES)
def test_a_pickled_array_is_read_as_numpy_reads_it(kind, protocol):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    for stored in (array, np.asfortranarray(array), array[:, :0], array[0, 0, 0:1]):
        read = to_array(read_pickle(pickle.dumps(stored, protocol=protocol), "file"), "file")
        assert read.dtype == stored.dtype.newbyteorder("=")
        assert read.dtype.isnative
        assert read.shape == stored.shape
        assert np.array_equal(read, stored)
        assert read.flags.writeable


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_no_array_comes_back_as_it_was(protocol):
    value = {"a": [1, -2, 2**70, 0.5, None, True], ("t", 1): ("nested", {"x": []}), "b": {}}
    assert read_pickle(pickle.dumps(value, protocol=protocol), "file") == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_bytes_and_numbers_of_numpy_come_back_as_those_of_python(protocol):
    value = [b"\x00\xff bytes", np.int64(-3), np.float32(0.25), np.uint8(255)]
    read = read_pickle(pickle.dumps(value, protocol=protocol), "file")
    assert read == [b"\x00\xff bytes", -3, 0.25, 255]
    assert [type(item) for item in read] == [bytes, int, float, int]


def test_a_pickle_that_python_2_wrote_is_read():
    # protocol 2, its strings without encoding: {'data': uint8 [[1, 2], [3, 4]], 'labels': [7, 9]}
    content = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
        b"\x87R(K\x01K\x02K\x02\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff"
        b"\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04\x01\x02\x03\x04tbU\x06labels](K\x07K\x09eu."
    )
    read = read_pickle(content, "file")
    assert read[b"labels"] == [7, 9]
    assert to_array(read[b"data"], "file").tolist() == [[1, 2], [3, 4]]


class Runs:
    """An object that, unpickled, calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_wants_to_run_something_is_one_line_and_does_not_run(tmp_path, protocol):
    trace = tmp_path / "ran"
    for hostile in (
        Runs(os.system, f"touch {trace}"),
        Runs(Path.touch, trace),
        Runs(eval, f"open({str(trace)!r}, 'w')"),
        Runs(np.save, str(trace), np.zeros(1)),
    ):
        content = pickle.dumps({"data": hostile}, protocol=protocol)
        with pytest.raises(Malformed, match=r"^file: it names '.*', which is not data$") as caught:
            read_pickle(content, "file")
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    pickle.loads(content)  # the test can fail: an ordinary reader runs the last one
    assert list(tmp_path.iterdir())


def record_classes(base: type = Record) -> list[type]:
    return [base, *(c for child in base.__subclasses__() for c in record_classes(child))]


@pytest.mark.parametrize("name", ["numpy\nndarray", "numpy\ndtype", "_codecs\nencode"])
def test_a_pickle_cannot_change_what_an_admitted_name_stands_for(name):
    before = [dict(vars(record)) for record in record_classes()]
    for state in (b"}U\x01aK\x01s", b"N}U\x07__new__K\x01s\x86"):
        with pytest.raises(Malformed):
            read_pickle(b"\x80\x02c" + name.encode() + b"\n" + state + b"b.", "file")
    assert [dict(vars(record)) for record in record_classes()] == before


class _Array:
    """A pickle of an array whose parts do not agree."""

    def __init__(self, shape, kind, raw):
        self.state = (1, shape, kind, False, raw)

    def __reduce__(self):
        return (*np.zeros(0).__reduce__()[:2], self.state)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (_Array((2, 3), np.dtype("u1"), b"12345"), "an array of 5 bytes where 6 are stated"),
        (_Array((2, 3), np.dtype("u1"), b"1234567"), "an array of 7 bytes where 6 are stated"),
        (_Array((-1, -6), np.dtype("u1"), b"123456"), "an array without a shape"),
        (_Array("ab", np.dtype("u1"), b"123456"), "an array without a shape"),
        (_Array((1,), np.dtype("u1"), "1"), "an array whose content is not bytes of numbers"),
        (_Array((1,), "u1", b"1"), "an array whose content is not bytes of numbers"),
        (np.array([{}], dtype=object), "an array of type 'O8' is not an array of numbers"),
        (np.array(["text"]), "an array of type 'U4' is not an array of numbers"),
        (np.zeros(1, "u1,f4"), "an array of type 'V5' is not an array of numbers"),
    ],
)
def test_an_array_whose_parts_disagree_is_one_line(array, reason):
    content = pickle.dumps(array, protocol=4)
    with pytest.raises(Malformed) as caught:
        to_array(read_pickle(content, "file"), "file")
    assert str(caught.value) == f"file: {reason}"


def test_a_record_that_was_never_filled_is_one_line():
    empty = b"cnumpy\nndarray\n)\x81"  # by __new__, without __init__ or a state
    with pytest.raises(Malformed, match=r"^file: an array without content$"):
        to_array(read_pickle(b"\x80\x03" + empty + b".", "file"), "file")
    kind = b"cnumpy\ndtype\n)\x81"
    array = b"cnumpy\nndarray\n)R(K\x01K\x01\x85" + kind + b"\x89B\x01\0\0\0atb"
    with pytest.raises(Malformed, match=r"^file: "):
        to_array(read_pickle(b"\x80\x03" + array + b".", "file"), "file")


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_a_damaged_pickle_is_one_line_or_data(data):
    """Any cut, and any changed byte, of a pickle gives data or Malformed, nothing else."""
    protocol = data.draw(st.integers(0, pickle.HIGHEST_PROTOCOL))
    value = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, np.int64(2)]}
    content = pickle.dumps(value, protocol=protocol)
    with pytest.raises(Malformed):
        read_pickle(content[: data.draw(st.integers(0, len(content) - 1))], "file")
    place = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    # letters alone, and not "r", by which four bytes ask for gigabytes of memory
    changed[place] = data.draw(st.sampled_from([c for c in range(32, 127) if c != ord("r")]))
    with contextlib.suppress(Malformed):
        read = read_pickle(bytes(changed), "file")
        if isinstance(read, dict):
            to_array(read.get("data"), "file")


def test_bytes_behind_the_end_of_a_pickle_are_refused():
    with pytest.raises(Malformed, match=r"^file has bytes behind its end$"):
        read_pickle(pickle.dumps([1]) + b"\0", "file")


@pytest.mark.parametrize("value", ["text", None, {}, ["text"], [[1]], [None]])
def test_what_is_no_array_is_not_taken_for_one(value):
    with pytest.raises(Malformed, match=r"^file: a \w+ where an array is expected$"):
        to_array(value, "file")


def dumped(value) -> bytes:
    stream = io.BytesIO()
    joblib.dump(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize("kind", TYPES)
def test_a_joblib_file_is_read_as_joblib_reads_it(kind, tmp_path):
    array = np.arange(24).reshape(4, 6).astype(kind)
    for stored in (array, np.asfortranarray(array), array[:0], array[:, 0]):
        joblib.dump(stored, tmp_path / "file", compress=9)
        content = zlib.decompress((tmp_path / "file").read_bytes())
        read = read_joblib(content, "file")
        assert read.dtype == stored.dtype.newbyteorder("=")
        assert np.array_equal(read, stored)
        assert np.array_equal(read, joblib.load(tmp_path / "file"))


def test_a_joblib_file_of_an_old_joblib_without_padding_is_read():
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    content = (
        b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(U\x08subclasscnumpy\nndarray\n"
        b"U\x05shapeK\x02K\x03\x86U\x05orderU\x01CU\x05dtypecnumpy\ndtype\nU\x02i4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbU\nallow_mmap\x89ub"
    )
    text = content.replace(b"U", b"X")  # Python 3 writes text: the length takes four bytes
    for key in (b"\x08subclass", b"\x05shape", b"\x05order", b"\x01C", b"\x05dtype", b"\x02i4"):
        text = text.replace(b"X" + key, b"X" + key[:1] + b"\0\0\0" + key[1:])
    for key in (b"\x01<", b"\nallow_mmap"):
        text = text.replace(b"X" + key, b"X" + key[:1] + b"\0\0\0" + key[1:])
    assert np.array_equal(read_joblib(text + array.tobytes() + b".", "file"), array)


def test_a_joblib_file_that_is_cut_short_or_too_long_is_one_line():
    content = dumped(np.arange(12.0))
    for cut in range(len(content)):
        with pytest.raises(Malformed):
            read_joblib(content[:cut], "file")
    with pytest.raises(Malformed, match=r"^file has bytes behind its end$"):
        read_joblib(content + b".", "file")


def test_a_joblib_file_with_anything_but_one_array_of_numbers_is_refused(tmp_path):
    trace = tmp_path / "ran"
    hostile = Runs(os.system, f"touch {trace}")
    for value in (hostile, np.array([hostile], dtype=object), {"a": np.zeros(2)}, "text"):
        with pytest.raises(Malformed):
            read_joblib(dumped(value), "file")
    assert not trace.exists()
