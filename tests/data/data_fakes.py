"""Files in the layouts of the real sets, made by hand."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import joblib
import numpy as np

from lipexp.data import COVERTYPE_FILES


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + struct.pack(f">B{array.ndim}I", array.ndim, *array.shape) + array.tobytes()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_covertype(folder: Path, features: np.ndarray, labels: np.ndarray) -> None:
    for file, array in zip(COVERTYPE_FILES, (features, labels), strict=True):
        (folder / file).parent.mkdir(exist_ok=True)
        joblib.dump(array, folder / file, compress=9)
