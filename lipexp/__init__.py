"""lipexp: experiments with 1-Lipschitz networks, the law beside the measurement.

``run(overrides) -> Path`` does what ``lipexp run`` does; ``layers``, ``theory``, ``activations``,
``inits``, ``networks``, ``data`` and ``probing`` are the rooms.  Importing lipexp imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_ROOMS = ("activations", "data", "inits", "layers", "networks", "probing", "theory")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"lipexp.{name}")
    if name == "run":
        return import_module("lipexp.cli.run").run
    raise AttributeError(f"module 'lipexp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({"__version__", "run", *_ROOMS})
