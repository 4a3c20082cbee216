"""Whether a device computes products as the error analysis assumes: term by term, in float64."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from lipexp.errors import UserError


def check_arithmetic(device: torch.device) -> None:
    """Raises UserError unless sums of products have errors relative to their own terms.

    Each case is exact in float64, whatever the order of summation, and goes wrong in anything
    shorter (TF32, autocast), in float64 emulated by numbers of one exponent, and in convolutions
    by Winograd's or Fourier's transform, which mix neighbouring pixels.
    """
    numbers = {"dtype": torch.float64, "device": device}
    rows = torch.tensor([[2.0**52, 1, -(2.0**52)], [2.0**100, 2.0**-100, 0]], **numbers)
    columns = torch.tensor([[1.0, 0], [1, 2.0**100], [1, 0]], **numbers)
    products = rows.repeat(32, 1) @ columns.repeat(1, 32)
    twice = F.linear(rows.repeat(32, 1), columns.mT.repeat(32, 1))
    exact = all(
        bool((found[0::2, 0::2] == 1).all() and (found[1::2, 1::2] == 1).all())
        for found in (products, twice)
    )

    images = torch.ones(4, 16, 8, 8, **numbers)
    images[:, 0], images[:, 1] = 2.0**48, -(2.0**48)
    images[:, :, 0, 0] = 2.0**100  # seen by the first output alone
    sums = F.conv2d(images, torch.ones(16, 16, 3, 3, **numbers)).flatten(2)
    exact = exact and bool((sums[:, :, 1:] == 9 * 14).all())
    if not exact:
        raise UserError(
            f"{device} does not compute products in float64 term by term: "
            "certificates cannot be made there; use device=cpu"
        )
