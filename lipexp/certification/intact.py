"""Whether modules compute what their classes say, with the numbers that they show.

A proof is of a class's own code.  What is put in its way on an instance, by a context or by a
copy that is none is refused here; whether a class may be certified at all is asked in `chain`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import is_parametrized
from torch.overrides import _get_current_function_mode_stack as function_modes
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as dispatch_modes

from lipexp.errors import UserError
from lipexp.layers.orthogonal import OrthogonalLinear

PACKAGE = Path(__file__).parents[1]
# How a module is called and copied: who writes one of these may compute, or hand over, anything.
RUNS = {
    *("__call__", "_call_impl", "_wrapped_call_impl", "__getattribute__"),
    *("__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__"),
}
STATE = vars(nn.Module()).keys()  # children, parameters, hooks: what every check here reads
HARMLESS = {"__init__", "__doc__", "__module__", "__annotations__", "__repr__", "extra_repr"}
SEQUENTIAL = {*dir(nn.Sequential), *RUNS, *STATE} - HARMLESS
# What a layer reads: hidden behind a plain attribute, it would not be moved to float64 or checked.
HOLDS = (Tensor, nn.Module)
READ = {"weight", "bias", "log_q", "activation", "running_mean", "running_var"}


def check_context() -> None:
    """Raises UserError where arithmetic or every module is not what it is by itself."""
    for device in ("cpu", "cuda"):
        if torch.is_autocast_enabled(device):
            raise UserError(f"autocast is on for {device}: certificates need float64; turn it off")
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        raise UserError("a global forward hook may change every output; remove it to certify")
    modes = [mode for mode in function_modes() if type(mode) is not DeviceContext]
    if modes or dispatch_modes():
        kind = type((*modes, *dispatch_modes())[0]).__name__
        raise UserError(f"{kind} may change what torch computes; certify outside of it")
    smallest = torch.full((2**10,), 2.0**-1074, dtype=torch.float64, device="cpu")
    if bool(((smallest * 1).view(torch.int64) != 1).any()):  # bits: a comparison flushes too
        raise UserError(
            "denormal numbers are flushed to zero: small weights would count as none; "
            "certify after torch.set_flush_denormal(False)"
        )


def is_ours(kind: type) -> bool:
    """Whether a class is one of this package's files, whatever its module calls itself."""
    home = sys.modules.get(kind.__module__)
    file = getattr(home, "__file__", None)
    if file is None or not Path(file).is_relative_to(PACKAGE):
        return False
    return vars(home).get(kind.__qualname__) is kind


def is_plain_sequential(module: nn.Module) -> bool:
    """Whether a module does no more than send its input through its children in order."""
    if not isinstance(module, nn.Sequential):
        return False
    line = type(module).__mro__
    return not any(
        SEQUENTIAL & vars(kind).keys()
        for kind in line[: line.index(nn.Sequential)]
        if not is_ours(kind)
    )


def check_intact(path: str, module: nn.Module) -> None:
    """Raises UserError, naming the path, where something stands in the way of a module's class."""
    kind = type(module)
    if module._forward_hooks or module._forward_pre_hooks:
        raise UserError(
            f"{path}: a forward hook may change what {kind.__name__} computes; remove it to certify"
        )
    if module._compiled_call_impl is not None:
        raise UserError(f"{path}: {kind.__name__} was compiled; certify it before compile()")
    given = {name for name in vars(module) if callable(getattr(kind, name, None))}
    given |= RUNS & vars(module).keys()
    if kind.__call__ is not nn.Module.__call__:
        given.add("__call__")
    if is_parametrized(module):
        _check_parametrized(path, module)
    for ancestor in kind.__mro__[: kind.__mro__.index(nn.Module)]:
        ours = is_ours(ancestor) or ancestor.__module__.startswith("torch.nn.modules.")
        given |= set() if ours else {*RUNS, *STATE} & vars(ancestor).keys()
        forward = vars(ancestor).get("forward")
        if not is_ours(ancestor) and ours and forward and forward.__module__ != ancestor.__module__:
            given.add("forward")
    if is_parametrized(module):
        given -= {"__getstate__", "__deepcopy__"}  # of the class that torch puts in front
    if given:
        raise UserError(f"{path}: {kind.__name__} was given another {min(given)}")


def _check_parametrized(path: str, module: nn.Module) -> None:
    """Only torch's orthogonal parametrisation, of the layer that is made of it, is known."""
    own = isinstance(module, OrthogonalLinear) and set(module.parametrizations) == {"weight"}
    maps = module.parametrizations.weight if own else ()
    if [type(map_) for map_ in maps] != [parametrizations._Orthogonal]:
        raise UserError(
            f"{path}: no Lipschitz bound is known of {type(module).__name__}: a parametrisation "
            "may change at every call; remove_parametrizations makes it a number"
        )


def check_numbers(module: nn.Module) -> None:
    """Raises UserError for parameters and buffers that are no plain, finite, real numbers."""
    hidden = [k for k in READ & vars(module).keys() if isinstance(vars(module)[k], HOLDS)]
    if hidden:
        name = min(hidden)
        raise UserError(f"{name} is a plain attribute; make it a parameter or a buffer to certify")
    parameters = dict(module.named_parameters())
    for name, tensor in (*parameters.items(), *module.named_buffers()):
        if type(tensor) not in (Tensor, nn.Parameter):
            raise UserError(
                f"{name} is a {type(tensor).__name__}: only plain tensors are certified"
            )
        if tensor.is_meta:
            raise UserError(f"{name} is on the meta device: it has no numbers to certify")
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise UserError(f"{name} is sparse or quantised: only dense tensors are certified")
        if tensor.is_complex():
            raise UserError(f"{name} is complex: only real networks can be certified")
        if name in parameters and not tensor.is_floating_point():
            raise UserError(f"{name} has type {tensor.dtype}: it must be a floating-point number")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.double()).all()):
            raise UserError(f"{name} is NaN or infinite: there is no Lipschitz bound")


def check_copy(module: nn.Module, copied: nn.Module) -> None:
    """Raises UserError unless the copy is of the same class and has the same numbers in float64."""
    pairs = zip(_numbers(module), _numbers(copied), strict=False)
    same = type(module) is type(copied) and len(_numbers(module)) == len(_numbers(copied))
    if not same or not all(
        name == other and torch.equal(tensor.to(copy), copy)
        for (name, tensor), (other, copy) in pairs
    ):
        raise UserError(f"{type(module).__name__} does not copy itself: it cannot be certified")


def _numbers(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]
