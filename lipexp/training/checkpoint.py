"""A training on disk: one safetensors file with weights, optimiser state and how far it is.

Tensors are named ``network.<name in the state dict>`` and ``optimizer.<parameter>.<its state>``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from lipexp import __version__
from lipexp.errors import UserError
from lipexp.files import write_bytes
from lipexp.training import OPTIMIZERS
from lipexp.training.loop import Training

KIND = "lipexp checkpoint 1"
NETWORK = "network."
OPTIMIZER = "optimizer."
REMEDY = "delete it, or start again with force=true"


def save(path: Path, training: Training, identity: Mapping[str, Any]) -> None:
    """Writes a training between two epochs; ``path`` is whole, old or new, whatever happens.

    ``identity``: everything that can change the numbers; what JSON does not know is stored as text.
    Raises ValueError within an epoch: weights would not be those of ``training.epoch``.
    """
    if training.step != training.epoch * training.steps_per_epoch:
        raise ValueError(f"step {training.step} is not at the end of an epoch")
    tensors = {**_network_tensors(training.network), **_optimizer_tensors(training)}
    stored = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    about = {
        **circumstances(),
        "epoch": training.epoch,
        "step": training.step,
        "tensors": len(tensors),
        "sha256": digest(stored),
        "identity": identity,
    }
    # One entry: safetensors writes several in random order, and equal trainings have equal files.
    metadata = {KIND: _canonical(about)}
    write_bytes(to_bytes(stored, metadata), path)


def circumstances() -> dict[str, Any]:
    """What the last digits may depend on beside the request, on one device."""
    versions = {"version": __version__, "torch": torch.__version__}
    return {**versions, "threads": torch.get_num_threads()}


def load(path: Path, training: Training, identity: Mapping[str, Any]) -> list[str]:
    """Puts a training where it was when it was saved, to the bit.

    Returns which `circumstances` are others now: the rest may then differ in last digits.  Raises
    UserError, with ``training`` as it was, for a file that cannot be read, is no checkpoint, or is
    of another identity or network.
    """
    stored = _read(path)
    _check_identity(path, stored.identity, identity)
    network = stored.below(NETWORK)
    _check_same(path, network, training.network.state_dict(), dtypes=True)
    state = _optimizer_state(path, stored.below(OPTIMIZER), training)
    if stored.step != stored.epoch * training.steps_per_epoch:
        raise _unusable(path, f"has {stored.step:,} steps in {stored.epoch:,} epochs")
    training.network.load_state_dict(network)
    groups = training.optimizer.state_dict()["param_groups"]
    training.optimizer.load_state_dict({"state": state, "param_groups": groups})
    training.epoch, training.step = stored.epoch, stored.step
    was = stored.circumstances
    return [f"{k} was {was.get(k)}, is {v}" for k, v in circumstances().items() if was.get(k) != v]


def check(path: Path, identity: Mapping[str, Any]) -> None:
    """Raises UserError for a file that is no whole checkpoint of that identity; reads its head."""
    _check_identity(path, _read(path, tensors=False).identity, identity)


def load_network(path: Path, network: nn.Module) -> dict[str, Any]:
    """The weights alone, into a network of the same names and shapes; its dtype stays.

    Returns the identity of the file, whatever it is.  Raises UserError as ``load`` does.
    """
    stored = _read(path)
    tensors = stored.below(NETWORK)
    _check_same(path, tensors, network.state_dict(), dtypes=False)
    network.load_state_dict(tensors)
    return stored.identity


@dataclass(frozen=True)
class _Stored:
    """What a checkpoint holds, on the CPU, in memory of its own."""

    epoch: int
    step: int
    identity: dict[str, Any]
    circumstances: dict[str, Any]
    tensors: dict[str, Tensor]

    def below(self, prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}


def _read(path: Path, *, tensors: bool = True) -> _Stored:
    try:
        path.open("rb").close()  # its error has words; that of safetensors repeats the path
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if KIND not in metadata:
                raise _unusable(path, "is not a checkpoint of lipexp")
            about = json.loads(metadata[KIND])
            names = list(file.keys())
            if len(names) != about["tensors"]:
                raise _unusable(path, "is damaged: it lacks tensors or has others")
            # Clones: the file is mapped, and its tensors lie on no particular boundary.
            found = {name: file.get_tensor(name).clone() for name in names if tensors}
            if tensors and digest(found) != about["sha256"]:
                raise _unusable(path, "is damaged: its numbers are not those that were written")
        identity = dict(about["identity"])
        made = {key: about.get(key) for key in circumstances()}
        return _Stored(int(about["epoch"]), int(about["step"]), identity, made, found)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _unusable(path, "is damaged or is not a checkpoint of lipexp") from error


def digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of names and numbers: safetensors itself has no checksum."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].numpy().tobytes())
    return found.hexdigest()


def _unusable(path: Path, what: str) -> UserError:
    return UserError(f"{path} {what}; {REMEDY}")


def _canonical(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True, default=str)


def _check_identity(path: Path, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    asked = json.loads(_canonical(asked))
    for key in sorted({*stored, *asked}):
        if key not in stored or key not in asked or stored[key] != asked[key]:
            was, now = (_value(mapping, key) for mapping in (stored, asked))
            raise _unusable(path, f"is of another run: {key} was {was} and is {now}")


def _value(mapping: Mapping[str, Any], key: str) -> str:
    return json.dumps(mapping[key]) if key in mapping else "not there"


def _check_same(
    path: Path, stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, dtypes: bool
) -> None:
    """Raises UserError unless names, shapes and, if asked, types are the same."""
    for name in sorted({*stored, *wanted}):
        if name not in stored or name not in wanted:
            where = "is not in it" if name not in stored else "is not in the network"
            raise _unusable(path, f"is of another network: {name} {where}")
        was, now = stored[name], wanted[name]
        if was.shape != now.shape or (dtypes and was.dtype != now.dtype):
            raise _unusable(
                path, f"is of another network: {name} was {_kind(was)} and is {_kind(now)}"
            )


def _kind(tensor: Tensor) -> str:
    size = "x".join(map(str, tensor.shape)) or "scalar"
    return f"{size} {str(tensor.dtype).removeprefix('torch.')}"


def _network_tensors(network: nn.Module) -> dict[str, Tensor]:
    return {NETWORK + name: tensor for name, tensor in network.state_dict().items()}


def _optimizer_tensors(training: Training) -> dict[str, Tensor]:
    state: dict[int, dict[str, Tensor]] = training.optimizer.state_dict()["state"]
    return {
        f"{OPTIMIZER}{index}.{key}": tensor
        for index, entries in state.items()
        for key, tensor in entries.items()
    }


def _optimizer_state(
    path: Path, stored: Mapping[str, Tensor], training: Training
) -> dict[int, dict[str, Tensor]]:
    """The state by parameter number.  Raises UserError for one that is not this optimiser's."""
    parameters = list(training.network.parameters())
    keys = set(OPTIMIZERS.fact(training.recipe.optimizer, "state"))
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in stored.items():
        number, _, key = name.partition(".")
        if not number.isdigit() or int(number) >= len(parameters) or key not in keys:
            raise _unusable(path, f"is of another optimiser: {name} has no place in it")
        shape = torch.Size() if key == "step" else parameters[int(number)].shape
        if tensor.shape != shape:
            raise _unusable(path, f"is of another optimiser: {name} is {_kind(tensor)}")
        if key != "step":  # in the parameter's memory layout, which fused optimisers walk
            tensor = torch.empty_like(parameters[int(number)], dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(number), {})[key] = tensor
    for number, entries in state.items():
        for key in sorted(keys - set(entries)):
            raise _unusable(path, f"is of another optimiser: {number}.{key} is not in it")
    return state
