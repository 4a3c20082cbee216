"""Networks by name: how layers are put together."""

from __future__ import annotations

from lipexp.registry import Entry, Registry

NETWORKS = Registry(
    "network",
    {
        "mlp": Entry(
            "lipexp.networks.mlp:mlp",
            "input, [adapter], depth hidden layers of one width, head",
        ),
        "lipconvnet": Entry(
            "lipexp.networks.lipconvnet:lipconvnet",
            "five blocks of convolutions, halving sides and doubling channels, for images",
            {"check": "lipexp.networks.lipconvnet:check", "pixels": 32 * 32},
        ),
    },
)
