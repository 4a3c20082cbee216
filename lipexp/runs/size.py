"""Requests that no machine of this size can hold are refused before they are tried."""

from __future__ import annotations

import os

from lipexp.config import Request
from lipexp.errors import UserError


def memory_of_this_machine() -> int | None:
    """Bytes of main memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def least_bytes(request: Request, features: int) -> int:
    """A lower bound on what a probe holds at once: free weights, and a batch at one layer."""
    width, item = request.width, 8 if request.dtype == "float64" else 4
    inner = request.model.get("hidden") or width
    entering = inner * width if request.residual else features * width
    weights = entering + (request.depth - 1) * inner * width
    batch = request.batch * (features + width)
    return request.replicates * item * weights + (request.replicates * item + 8) * batch


def check_size(request: Request, features: int) -> None:
    """Raises UserError for a request that cannot fit into this machine's memory."""
    needed, there = least_bytes(request, features), memory_of_this_machine()
    if there is not None and needed > there:
        raise UserError(
            f"depth={request.depth} width={request.width} batch={request.batch} "
            f"replicates={request.replicates} need at least {needed / 2**30:,.0f} GiB of memory; "
            f"this machine has {there / 2**30:,.0f}"
        )
