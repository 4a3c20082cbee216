"""Weights that were made elsewhere: read without executing anything, and checked name by name."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from torch import Tensor, nn

from lipexp.errors import UserError
from lipexp.training import checkpoint

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)  # each is a float64
# Under which of their keys training programs keep the state dict.
WRAPPINGS = ("state_dict", "model_state_dict", "model", "network")
PARALLEL = "module."  # what DataParallel puts before every name


def load_weights(path: Path, network: nn.Module) -> None:
    """Puts the state dict of a file into a float64 network, every number as it stands.

    The file: safetensors, a checkpoint of lipexp's among them, or what torch.save wrote of a state
    dict, or of a dict with one.  Raises UserError, one line, for a file that is neither, that is
    damaged or names anything to be executed, and for names, shapes or types that do not fit.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not _looks_like_safetensors(content):
        tensors = _state_dict(path, _from_torch(path))
    elif checkpoint.KIND.encode() in content[: 8 + _header_length(content)]:
        _load_checkpoint(path, network)
        return
    else:
        try:
            tensors = from_safetensors(content)
        except (SafetensorError, ValueError, KeyError) as error:
            raise UserError(f"{path} is a damaged safetensors file") from error
    _check(path, tensors, network.state_dict())
    network.load_state_dict(tensors)


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def _looks_like_safetensors(content: bytes) -> bool:
    """The length of a JSON header, and its first letter; cut off anywhere behind it, too."""
    return content[8:9] == b"{" and _header_length(content) < 2**32


def _load_checkpoint(path: Path, network: nn.Module) -> None:
    try:
        checkpoint.load_network(path, network)
    except UserError as error:  # the remedy is for a run's own
        raise UserError(str(error).removesuffix(f"; {checkpoint.REMEDY}")) from error


def _from_torch(path: Path) -> Any:
    """What torch.save wrote, if it is made of tensors, numbers, texts, lists and dicts alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|global:?|class|type|function) ([\w.]+\.[\w.]+)", str(error))
        if named:
            raise _refused(path, f"names {named[1]}, which is code") from error
        if "Unsupported operand" in str(error) and _looks_like_pickle(path):
            raise _refused(path, "has instructions that may execute code") from error
        raise _neither(path) from error
    except Exception as error:  # a damaged file can raise nearly anything
        raise _neither(path) from error


def _looks_like_pickle(path: Path) -> bool:
    """An archive, or the two bytes of a pickle's protocol."""
    with path.open("rb") as file:
        start = file.read(2)
    return start == b"PK" or (start[:1] == b"\x80" and start[1:] <= b"\x05")


def _refused(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} {why}: refused; torch.save(net.state_dict(), FILE) writes numbers alone"
    )


def _neither(path: Path) -> UserError:
    return UserError(
        f"{path} is neither a safetensors file nor a state dict written by torch.save, or damaged"
    )


def _state_dict(path: Path, found: Any) -> dict[str, Tensor]:
    """The dict of tensors by name in what a file holds."""
    if isinstance(found, Mapping) and not _is_state_dict(found):
        inner = [found[key] for key in WRAPPINGS if _is_state_dict(found.get(key))]
        if len(inner) == 1:
            (found,) = inner
    if not _is_state_dict(found):
        raise UserError(
            f"{path} holds no state dict (a dict of tensors by name); "
            "torch.save(net.state_dict(), FILE) writes one"
        )
    if all(name.startswith(PARALLEL) for name in found):
        found = {name.removeprefix(PARALLEL): tensor for name, tensor in found.items()}
    return dict(found)


def _is_state_dict(found: Any) -> bool:
    if not isinstance(found, Mapping) or not found:
        return False
    return all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())


def _check(path: Path, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raises UserError unless names and shapes are the network's and numbers are floats."""
    missing = [name for name in wanted if name not in tensors]
    strange = [name for name in tensors if name not in wanted]
    if missing or strange:
        words = [_some(missing, "is not in it"), _some(strange, "is not in the network")]
        raise _other(path, ", ".join(filter(None, words)))
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOATS or tensor.layout != torch.strided or tensor.is_quantized:
            kind = str(tensor.dtype).removeprefix("torch.")
            if tensor.layout != torch.strided:
                kind += " and not dense"
            allowed = ", ".join(str(float_).removeprefix("torch.") for float_ in FLOATS)
            raise UserError(f"{path}: {name} is {kind}; must be one of {allowed}")
        if tensor.shape != wanted[name].shape:
            was, must = _size(tensor), _size(wanted[name])
            raise _other(path, f"{name} is {was} and must be {must}")


def _other(path: Path, what: str) -> UserError:
    return UserError(f"{path} is of another network: {what}")


def _some(names: list[str], what: str) -> str:
    more = f" (and {len(names) - 1:,} more)" if len(names) > 1 else ""
    return f"{names[0]} {what}{more}" if names else ""


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
