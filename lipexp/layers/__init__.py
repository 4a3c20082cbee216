"""Layers by name, with the facts that are needed before torch is imported."""

from __future__ import annotations

from lipexp.lazy import lazy
from lipexp.registry import Entry, Registry


def _entry(where: str, description: str, *, residual: bool = False) -> Entry:
    facts = {"residual": residual}
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

__getattr__, __dir__ = lazy(
    __name__,
    {
        **LAYERS.homes(),
        "LipschitzLinear": "lipexp.layers.base",
        "LipschitzResidual": "lipexp.layers.base",
        "Centre": "lipexp.layers.plumbing",
        "Flatten": "lipexp.layers.plumbing",
        "ZeroPad": "lipexp.layers.plumbing",
        "certified_norm": "lipexp.layers.bounds",
    },
    ("LAYERS",),
)
