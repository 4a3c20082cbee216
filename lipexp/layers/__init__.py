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

# The same by name for images; a model that is not here has no convolution.
CONVOLUTIONS = Registry(
    "convolution",
    {
        "aol": _entry(
            "aol:AOLConv2d", "almost orthogonal: every input (or output) channel rescaled"
        ),
        "sll": _entry("sll:SLLConv2d", "residual, with a transposed convolution", residual=True),
        "sll_feedforward": _entry(
            "aol:SLLFeedforwardConv2d", "AOL with a free weight q per channel"
        ),
        "linear": _entry("linear:PlainConv2d", "no constraint; bounded for images of any size"),
    },
)

__getattr__, __dir__ = lazy(
    __name__,
    {
        **LAYERS.homes(),
        **CONVOLUTIONS.homes(),
        "LipschitzConv2d": "lipexp.layers.base",
        "LipschitzLinear": "lipexp.layers.base",
        "LipschitzResidual": "lipexp.layers.base",
        "NormalisedLinear": "lipexp.layers.normalised",
        "Centre": "lipexp.layers.plumbing",
        **dict.fromkeys(
            ("Flatten", "ZeroPad", "PadChannels", "PadSides", "FirstChannels", "FirstFeatures"),
            "lipexp.layers.plumbing",
        ),
        **dict.fromkeys(("PixelUnshuffle", "SumPool"), "lipexp.layers.plumbing"),
        "frozen": "lipexp.layers.base",
        "certified_norm": "lipexp.layers.bounds",
    },
    ("CONVOLUTIONS", "LAYERS"),
)
