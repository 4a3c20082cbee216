"""Files that are whole or not there: written under a temporary name and renamed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def write_atomically(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Calls ``write`` with an open file that becomes ``path`` when it returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(content: bytes | memoryview, path: Path) -> None:
    write_atomically(path, lambda file: file.write(content))


def write_text(text: str, path: Path) -> None:
    write_bytes(text.encode(), path)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """CSV with full precision; NaN is empty."""
    write_text(frame.to_csv(index=False, lineterminator="\n"), path)


def write_json(data: Mapping[str, Any], path: Path) -> None:
    """JSON by the standard: NaN and infinities become null."""
    plain = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in data.items()
    }
    write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", path)
