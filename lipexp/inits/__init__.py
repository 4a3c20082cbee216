"""Distributions of free weights by name; each fills a shape (out, in) and knows no layer."""

from __future__ import annotations

from lipexp.lazy import lazy
from lipexp.registry import Entry, Registry


def _entry(where: str, description: str) -> Entry:
    return Entry(f"lipexp.inits.{where}", description)


INITS = Registry(
    "init",
    {
        "normal": _entry("independent:normal", "N(0, 1)"),
        "gnd": _entry("independent:gnd", "generalised normal, density ~ exp(-(|x|/alpha)^beta)"),
        "uniform": _entry("independent:uniform", "uniform on (-1, 1)"),
        "laplace": _entry("independent:laplace", "Laplace with scale 1"),
        "kaiming_normal": _entry("independent:kaiming_normal", "N(0, 2 / fan_in)"),
        "kaiming_uniform": _entry("independent:kaiming_uniform", "uniform, variance 2 / fan_in"),
        "xavier_normal": _entry("independent:xavier_normal", "N(0, 2 / (fan_in + fan_out))"),
        "xavier_uniform": _entry(
            "independent:xavier_uniform", "uniform, variance 2 / (fan_in + fan_out)"
        ),
        "orthogonal": _entry("structured:orthogonal", "Haar (semi-)orthogonal"),
        "identity": _entry("structured:identity", "identity; repeated columns where it narrows"),
    },
)

__getattr__, __dir__ = lazy(__name__, INITS.homes(), ("INITS",))
