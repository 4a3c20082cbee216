"""Weights from elsewhere: every number as it stands, nothing executed, one line for the rest."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_safetensors
from torch import nn

from lipexp.errors import UserError
from lipexp.runs.certify.foreign_weights import load_weights


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()


def state(dtype=torch.float64):
    torch.manual_seed(0)
    return {name: tensor.to(dtype) for name, tensor in network().state_dict().items()}


def saved(thing, **how) -> bytes:
    content = io.BytesIO()
    torch.save(thing, content, **how)
    return content.getvalue()


class Code:
    """A pickle that would leave a file behind."""

    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def load(content: bytes, path):
    (path / "weights").write_bytes(content)
    found = network()
    load_weights(path / "weights", found)
    return found.state_dict()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "write",
    [
        to_safetensors,
        saved,
        lambda s: saved(s, _use_new_zipfile_serialization=False),
        lambda s: saved({"state_dict": s, "epoch": 3}),
        lambda s: saved({"model": s, "optimizer": {"lr": 0.1}}),
        lambda s: saved({f"module.{name}": tensor for name, tensor in s.items()}),
    ],
    ids=["safetensors", "zip", "legacy", "state_dict", "model", "parallel"],
)
def test_every_number_is_taken_as_it_stands(tmp_path, dtype, write):
    found = load(write(state(dtype)), tmp_path)
    for name, tensor in state(dtype).items():
        assert found[name].dtype == torch.float64
        assert torch.equal(found[name], tensor.double())


def with_(name, tensor):
    return {**state(), name: tensor}


SAFE = to_safetensors(state())
ZIPPED = saved(state())
REFUSED = {
    "empty": (b"", "neither a safetensors file nor"),
    "text": (b"hello there\n" * 50, "neither a safetensors file nor"),
    "random": (np.random.default_rng(0).bytes(5000), "neither a safetensors file nor"),
    "cut": (SAFE[:-1], "damaged safetensors file"),
    "cut in the header": (SAFE[:50], "damaged safetensors file"),
    "cut in the length": (SAFE[:5], "neither a safetensors file nor"),
    "longer": (SAFE + b"x", "damaged safetensors file"),
    "no json": (SAFE[:8] + b"{" + b"x" * 500, "damaged safetensors file"),
    "cut archive": (ZIPPED[:-30], "neither a safetensors file nor"),
    "start of an archive": (ZIPPED[:500], "neither a safetensors file nor"),
    "no weights": (saved([1, 2]), "holds no state dict"),
    "nothing": (saved({}), "holds no state dict"),
    "two of them": (saved({"model": state(), "network": state()}), "holds no state dict"),
    "a module": (saved(network()), r"names torch\.nn\.modules\.container\.Sequential, which is"),
    "an array": (saved({"0.weight": np.ones(3)}), "names numpy.*which is code: refused"),
    "code": (saved({"0.weight": Code()}), r"names posix\.system, which is code: refused"),
    "legacy code": (
        saved({"0.weight": Code()}, _use_new_zipfile_serialization=False),
        r"names posix\.system, which is code: refused",
    ),
    **{
        f"pickle {protocol}": (
            pickle.dumps(Code(), protocol=protocol),
            r"names posix\.system, which is code: refused|has instructions that may execute code",
        )
        for protocol in range(6)
    },
    "integers": (
        saved(with_("0.weight", torch.ones(3, 4, dtype=torch.int32))),
        "0.weight is int32; must be one of float64, float32, float16, bfloat16",
    ),
    "complex": (saved(with_("0.weight", torch.ones(3, 4, dtype=torch.complex64))), "is complex64"),
    "sparse": (saved(with_("0.weight", torch.ones(3, 4).to_sparse())), "not dense"),
    "shape": (saved(with_("0.weight", torch.ones(3, 5))), "0.weight is 3x5 and must be 3x4"),
    "more": (saved(with_("4.weight", torch.ones(1))), "4.weight is not in the network"),
    "less": (to_safetensors({"0.weight": torch.ones(3, 4)}), r"0.bias is not in it \(and 2 more\)"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_no_state_dict_of_this_network_is_one_line(tmp_path, name):
    content, line = REFUSED[name]
    with pytest.raises(UserError, match=line) as caught:
        load(content, tmp_path)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(".")
    assert not (tmp_path / "executed").exists()


def test_an_archive_that_is_none_of_torchs_is_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Code(), protocol=2))
        archive.writestr("version", "3")
    with pytest.raises(UserError, match="neither"):
        load((tmp_path / "z").read_bytes(), tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("place", range(0, len(SAFE), 37))
def test_a_byte_that_was_changed_is_a_line_or_another_number(tmp_path, place):
    """safetensors has no checksum: what still reads as the network's is another network."""
    content = SAFE[:place] + bytes([SAFE[place] ^ 0x55]) + SAFE[place + 1 :]
    try:
        found = load(content, tmp_path)
    except UserError:
        return
    assert any(not torch.equal(found[name], tensor) for name, tensor in state().items())


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        load_weights(tmp_path, network())
