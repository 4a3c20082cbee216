"""Bytes from disk, and the two ways in which they can be wrong."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path


class Mismatch(Exception):
    """Readable, but not what was published; ``dataset.verify=false`` takes it as it is."""


class Malformed(Exception):
    """Not readable as what it should be, verified or not."""


def stored(path: Path) -> Path:
    """The file itself, or ``path.gz`` where only that is there."""
    packed = path.with_name(path.name + ".gz")
    return packed if packed.exists() and not path.exists() else path


def read_bytes(path: Path) -> bytes:
    """A whole file.  Raises Malformed where the system refuses it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Malformed(f"{path.name}: {error.strerror or error}") from error


def unpack(content: bytes, name: str) -> bytes:
    """What is inside a ``.gz``; the content of any other file as it is.

    Raises Malformed for what gzip cannot unpack to its end.
    """
    if not name.endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise Malformed(f"{name} is cut short or damaged") from error


def md5(content: bytes) -> str:
    """Hex digits; a checksum against accidents, as the data sets publish it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def check_published(found: Mapping[str, str], published: Mapping[str, str]) -> None:
    """Raises Mismatch for the first file whose checksum is not the published one."""
    for name, digest in found.items():
        if digest != published[name]:
            raise Mismatch(f"{name} has md5 {digest}, published is {published[name]}")
