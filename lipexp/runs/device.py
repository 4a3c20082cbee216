"""Where a run computes: the device, and how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lipexp.errors import UserError

ONE_THREAD_ENTRIES = 2**17


def choose_device(name: str) -> torch.device:
    """The device of a request; raises UserError for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            there = f"{count} CUDA device(s)" if count else "no CUDA device"
            raise UserError(f"device={name} is not there: this machine has {there}")
    return device


def device_name(device: torch.device) -> str:
    """ "cpu", or the GPU's model."""
    return device.type if device.type == "cpu" else torch.cuda.get_device_name(device)


@contextmanager
def threads_for(entries: int) -> Iterator[None]:
    """One thread for signals of at most ONE_THREAD_ENTRIES numbers, all that there are for larger.

    Small products run faster on one thread than split over several, above all beside other work.
    The rule depends on the request alone, so that the same request has the same bits.
    """
    before = torch.get_num_threads()
    if entries <= ONE_THREAD_ENTRIES:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
