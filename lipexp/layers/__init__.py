"""Layers by name, with the facts that are needed before torch is imported."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType

from lipexp.registry import Entry, Registry


def _entry(where: str, description: str, *, residual: bool = False) -> Entry:
    facts = MappingProxyType({"residual": residual})
    return Entry(f"lipexp.layers.{where}", description, facts)


LAYERS = Registry(
    "model",
    {
        "aol": _entry("aol:AOLLinear", "almost orthogonal: every column (or row) rescaled"),
        "sll": _entry(
            "sll:SLLLinear", "residual: x - 2 W T^-1 activation(W^T x + b)", residual=True
        ),
        "sll_feedforward": _entry("aol:SLLFeedforwardLinear", "AOL with a free weight q per unit"),
        "linear": _entry("linear:PlainLinear", "no constraint; bounded by its exact norm"),
        "orthogonal": _entry("orthogonal:OrthogonalLinear", "torch's orthogonal parametrisation"),
        "spectral": _entry(
            "spectral:SpectralLinear", "divided by the exact largest singular value"
        ),
    },
)

_BASES = {
    "LipschitzLinear": "base",
    "LipschitzResidual": "base",
    "Centre": "plumbing",
    "Flatten": "plumbing",
    "ZeroPad": "plumbing",
    "certified_norm": "bounds",
}
_CLASSES = {
    entry.where.partition(":")[2]: entry.where.partition(":")[0]
    for entry in LAYERS._entries.values()
}


def __getattr__(name: str):
    if name in _CLASSES:
        return getattr(import_module(_CLASSES[name]), name)
    if name in _BASES:
        return getattr(import_module(f"lipexp.layers.{_BASES[name]}"), name)
    raise AttributeError(f"module 'lipexp.layers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({"LAYERS", *_CLASSES, *_BASES})
