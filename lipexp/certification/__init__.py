"""Certificates: proven Lipschitz constants, proven rounding, and the radii that follow."""

from __future__ import annotations

from lipexp.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "certify": "lipexp.certification.certificate",
        "lipschitz_bound": "lipexp.certification.constants",
        "margin_constants": "lipexp.certification.constants",
        "withstands": "lipexp.certification.scores",
    },
)
