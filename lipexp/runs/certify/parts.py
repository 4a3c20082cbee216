"""Results of a certification on disk, batch by batch, so that it goes on after a stop."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from lipexp.files import write_bytes
from lipexp.training.checkpoint import digest

FOLDER = "certify.parts"


class Parts:
    """The parts of one identity below a folder, by name.

    Those of another identity or name, and damaged ones, count as not there.
    """

    def __init__(self, folder: Path, identity: str):
        self._folder, self._identity = folder / FOLDER, identity
        self._whole: set[str] = set()

    def __len__(self) -> int:
        """How many have been read or written."""
        return len(self._whole)

    def read(self, name: str) -> dict[str, Tensor] | None:
        try:
            with safe_open(self._path(name), framework="pt") as file:
                about = file.metadata() or {}
                found = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return None
        if about != self._about(name, found):
            return None
        self._whole.add(name)
        return found

    def write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Whole or not there, whatever happens."""
        self._folder.mkdir(exist_ok=True)
        stored = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        write_bytes(to_bytes(stored, self._about(name, stored)), self._path(name))
        self._whole.add(name)

    def clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._whole.clear()

    def _about(self, name: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        return {"about": f"{self._identity} {name} {digest(tensors)}"}

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"
