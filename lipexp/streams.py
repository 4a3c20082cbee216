"""Independent streams of random numbers: one per purpose, replicate and layer.

numpy's generators and not torch's: torch's CPU generator is seeded by 32 bits (two of 10,000
layers would share their weights in one run of a hundred), and the same request must draw the same
numbers on every device.
"""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """The generator of one purpose ("weights", "inputs", ...) at one index (replicate, layer).

    Streams that differ in anything are independent; the stream of layer 3 is the same in a
    network of depth 3 and of depth 10,000.
    """
    key = (zlib.crc32(purpose.encode()), *index)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
