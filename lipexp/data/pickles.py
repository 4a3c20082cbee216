"""Reads the data out of a pickle without calling anything that the pickle names.

A pickle rebuilds an array by naming numpy's functions.  Here each admitted name stands for a small
record of this file, so that even numpy's own functions never see an argument from the file before
it was checked; every other name is refused.  The result is what was stored: dicts, lists, strings
(bytes, where Python 2 wrote them), numbers, with a `PickledArray` for each array.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from typing import Any

import numpy as np

from lipexp.data.files import Malformed


class Record:
    """What stands for an admitted name; `__setstate__` keeps a pickle from changing the class."""

    def __setstate__(self, state: Any) -> None:
        raise Malformed("it sets a state where there is none")


class PickledType(Record):
    """Stands for numpy.dtype: a number type of 1 to 8 bytes."""

    code = order = ""

    def __init__(self, code: str | bytes, *_: Any):
        self.code = code.decode("ascii") if isinstance(code, bytes) else code
        if not re.fullmatch(r"[<>|=]?([ui][1248]|f[248])", self.code):
            raise Malformed(f"an array of type {self.code!r} is not an array of numbers")

    def __setstate__(self, state: tuple) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        self.order = order if order in ("<", ">") else ""

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.order + self.code.lstrip("<>|="))


class PickledArray(Record):
    """Stands for an array of numpy: what the pickle says of it, checked when it is read."""

    _parts: tuple | None = None

    def __init__(self, *_: Any):
        """Made empty, whatever the pickle says; its state comes later."""

    def __setstate__(self, state: tuple) -> None:
        _version, shape, kind, fortran, raw = state
        self._parts = raw, kind, shape, "F" if fortran else "C"

    def read(self) -> np.ndarray:
        """The array, in this machine's byte order.  Raises Malformed where its parts disagree."""
        if self._parts is None:
            raise Malformed("an array without content")
        raw, kind, shape, order = self._parts
        if not isinstance(raw, (bytes, bytearray)) or not isinstance(kind, PickledType):
            raise Malformed("an array whose content is not bytes of numbers")
        size = kind.dtype.itemsize * elements(shape)
        if len(raw) != size:
            raise Malformed(f"an array of {len(raw):,} bytes where {size:,} are stated")
        array = np.frombuffer(raw, kind.dtype).reshape(shape, order=order)
        return array.astype(array.dtype.newbyteorder("="))


class PickledBuffer(PickledArray):
    """Stands for the function that rebuilds an array from a pickle of protocol 5."""

    def __init__(self, raw: bytes, kind: PickledType, shape: tuple, order: str):
        self._parts = raw, kind, shape, order


class PickledScalar(Record):
    """Stands for the function that rebuilds a number of numpy's; gives Python's number."""

    def __new__(cls, kind: PickledType, raw: bytes) -> Any:
        return PickledBuffer(raw, kind, (), "C").read().item()


class PickledBytes(Record):
    """Stands for codecs.encode and bytes(), by which protocols before 3 store bytes; gives them."""

    def __new__(cls, text: str = "", encoding: str | bytes = "latin1") -> Any:
        if encoding not in ("latin1", b"latin1"):
            raise Malformed(f"bytes encoded as {encoding!r}")
        return text.encode("latin1")


def elements(shape: Any) -> int:
    """The number of elements of an array of that shape.  Raises Malformed for what is none."""
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise Malformed("an array without a shape")
    return math.prod(shape)


# numpy 2 moved its private modules from numpy.core to numpy._core
ADMITTED: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): PickledType,
    ("_codecs", "encode"): PickledBytes,
    ("__builtin__", "bytes"): PickledBytes,
    **{
        (f"numpy.{core}.{module}", name): record
        for core in ("core", "_core")
        for module, name, record in (
            ("multiarray", "_reconstruct", PickledArray),
            ("multiarray", "scalar", PickledScalar),
            ("numeric", "_frombuffer", PickledBuffer),
        )
    },
}


class Reader(pickle.Unpickler):
    """An unpickler that knows the names in ``admitted`` and no other."""

    def __init__(self, stream: io.BytesIO, admitted: dict[tuple[str, str], type]):
        super().__init__(stream, encoding="bytes")
        self._admitted = admitted

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self._admitted:
            raise Malformed(f"it names {f'{module}.{name}'!r}, which is not data")
        return self._admitted[module, name]


def read_pickle(content: bytes, name: str) -> Any:
    """What a pickle holds.  Raises Malformed for anything but data, and for trailing bytes."""
    return _read(io.BytesIO(content), ADMITTED, name)


def read_joblib(content: bytes, name: str) -> np.ndarray:
    """The one array of an unpacked joblib file.  Raises Malformed for anything else.

    joblib pickles a description of the array, interrupts the pickle for the array's bytes (behind
    a byte that counts bytes of padding), and then ends it.  The description's last instruction
    hands over its state, and a BytesIO has then been read up to that very point.
    """
    stream = io.BytesIO(content)

    class Described(PickledArray):
        def __setstate__(self, state: dict) -> None:
            kind, shape, order = state["dtype"], state["shape"], state["order"]
            if state.get("numpy_array_alignment_bytes") is not None:
                stream.read(stream.read(1)[0])
            raw = stream.read(kind.dtype.itemsize * elements(shape))
            self._parts = raw, kind, shape, order

    wrapper = ("joblib.numpy_pickle", "NumpyArrayWrapper")
    described = _read(stream, {**ADMITTED, wrapper: Described}, name)
    return to_array(described, name)


def to_array(value: Any, name: str) -> np.ndarray:
    """An array, or a list of numbers as an array.  Raises Malformed for anything else."""
    try:
        if isinstance(value, PickledArray):
            return value.read()
        if isinstance(value, list) and all(isinstance(number, (int, float)) for number in value):
            return np.array(value)
    except (Malformed, TypeError, ValueError, OverflowError) as error:
        raise Malformed(f"{name}: {error}") from error
    raise Malformed(f"{name}: a {type(value).__name__} where an array is expected")


def _read(stream: io.BytesIO, admitted: dict[tuple[str, str], type], name: str) -> Any:
    try:
        value = Reader(stream, admitted).load()
    except Malformed as error:
        raise Malformed(f"{name}: {error}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise Malformed(f"{name} is cut short or damaged") from error
    if stream.read(1):
        raise Malformed(f"{name} has bytes behind its end")
    return value
