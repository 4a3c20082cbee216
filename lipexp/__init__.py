"""lipexp: experiments with 1-Lipschitz networks, the law beside the measurement.

``run(overrides) -> Path`` does what ``lipexp run`` does; ``load(run) -> nn.Module`` is the network
of a training; ``certify(module, images, labels, eps) -> DataFrame`` and ``lipschitz_bound(module)``
are proofs about it.  ``layers``, ``theory``, ``activations``, ``inits``, ``networks``, ``data``,
``probing``, ``certification`` and ``training`` are the rooms.  Importing lipexp imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_ROOMS = (
    *("activations", "certification", "data", "inits", "layers", "networks", "probing", "theory"),
    "training",
)
_FUNCTIONS = {
    "run": "lipexp.cli.run",
    "load": "lipexp.runs.load",
    "certify": "lipexp.certification",
    "lipschitz_bound": "lipexp.certification",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"lipexp.{name}")
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'lipexp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({"__version__", *_FUNCTIONS, *_ROOMS})
