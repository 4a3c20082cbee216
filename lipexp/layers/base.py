"""The shapes of layer: an affine map x -> W x + b, dense or a convolution, and a residual block."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lipexp.activations import (
    ACTIVATIONS,
    check_inside_residual,
    is_sound_inside_residual,
)
from lipexp.errors import UserError
from lipexp.inits import INITS
from lipexp.inits.independent import fans
from lipexp.layers.bounds import certified_norm, convolution_norm
from lipexp.layers.windows import Window
from lipexp.lipschitz import (
    UNIT_ROUNDOFF,
    LipschitzModule,
    dense_error,
    gamma,
    magnitude,
    safe_norm,
)


class FreeWeightModule(LipschitzModule):
    """What all shapes share: a free weight that is filled, a bias, and the weights in use.

    ``fan_in``, ``fan_out``: the sizes that laws and inits speak of (residual: features, hidden
    units; a kernel's taps count as inputs and outputs); ``free_shape``: of the free weight, (out,
    in) or (out, in, side, side).

    Weights in use are computed of the free ones at every call, so that nothing can be stale; a
    `frozen` copy computes them once and keeps them, until it is moved or loaded into.
    """

    bias: Tensor | None
    fan_in: int
    fan_out: int
    free_shape: tuple[int, ...]
    draws_own = False
    bias_size: int | None = None
    _kept = None

    def _make(self, shape: tuple[int, ...], bias_size: int | None, init: str | None, device, dtype):
        self.free_shape, self.bias_size = shape, bias_size
        self.fan_in, self.fan_out = fans(shape)
        factory = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.zeros(shape, **factory))
        if bias_size is None:
            self.register_parameter("bias", None)
        else:
            self.bias = nn.Parameter(torch.zeros(bias_size, **factory))
        if init is not None:
            # Seeded by torch's global generator, as torch's own layers are.
            seed = int(torch.randint(2**62, ()))
            self.fill(INITS[init](shape, np.random.default_rng(seed)))

    @property
    def free_weight(self) -> Tensor:
        """The parameter that an init fills and an optimiser moves."""
        return self.weight

    @torch.no_grad()
    def fill(self, weight: np.ndarray, bias: np.ndarray | None = None) -> None:
        """Copies an init's draw (float64) into the free weight, and one into the bias."""
        self.free_weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        if bias is not None:
            self.bias.copy_(torch.from_numpy(bias))

    def fill_own(self, generator: np.random.Generator) -> None:
        """Draws what the layer has beside weight and bias, if it ``draws_own``."""

    def _compute(self):
        """The weights in use, of the free ones."""
        raise NotImplementedError

    def in_use(self):
        """The weights in use: computed now, or once and for all in a `frozen` copy."""
        return self._compute() if self._kept is None else self._kept

    def _apply(self, *arguments, **keywords):
        self._kept = None  # of another device or precision
        return super()._apply(*arguments, **keywords)

    def _load_from_state_dict(self, *arguments, **keywords):
        self._kept = None
        super()._load_from_state_dict(*arguments, **keywords)

    def _in_float64(self):
        """This layer, or a float64 copy: a certificate is of a float64 copy of what is stored."""
        if self.free_weight.dtype == torch.float64:
            return self
        return copy.deepcopy(self).double()

    def _check_finite(self) -> None:
        """Raises UserError for a parameter that is NaN, infinite or of another shape."""
        if tuple(self.free_weight.shape) != tuple(self.free_shape):
            shape, was = tuple(self.free_weight.shape), tuple(self.free_shape)
            raise UserError(f"the weight has shape {shape}; the layer was made for {was}")
        if self.bias is not None and tuple(self.bias.shape) != (self.bias_size,):
            shape = tuple(self.bias.shape)
            raise UserError(f"the bias has shape {shape}; the layer was made for {self.bias_size}")
        for name, parameter in self.named_parameters():
            if not bool(torch.isfinite(parameter.detach()).all()):
                raise UserError(f"{name} is NaN or infinite: there is no Lipschitz bound")

    def _bias_norm(self, positions: int = 1) -> float:
        """A bound on the norm of the bias added at so many positions."""
        if self.bias is None:
            return 0.0
        norm = float(safe_norm(self.bias.detach().double())) * math.sqrt(positions)
        return norm * (1 + gamma(self.bias.numel() + 8))


def frozen(module: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy in evaluation mode, of that dtype, whose weights in use are computed once and kept.

    What a certificate is of, and what a whole test set is sent through: rescaling anew would not
    only cost time but could give other bits in another summation order.
    """
    copied = copy.deepcopy(module).to(dtype=dtype).eval().requires_grad_(False)
    with torch.no_grad():
        for layer in copied.modules():
            if isinstance(layer, FreeWeightModule):
                kept = layer._compute()
                # A free weight in use as it stands is a parameter: kept as numbers of its own.
                layer._kept = kept.clone() if isinstance(kept, nn.Parameter) else kept
    return copied


class LipschitzAffine(FreeWeightModule):
    """x -> W x + b.  A subclass writes ``effective_weight``, the W that is applied, of ``weight``.

    Its bound is then the certified norm of that map; a subclass with a proof of its own overrides
    ``proven_norm``.  ``init`` names what fills the free weight (None: zeros).
    """

    def effective_weight(self) -> Tensor:
        """W, of the shape of the free weight."""
        raise NotImplementedError

    def _compute(self) -> Tensor:
        return self.effective_weight()

    def apply_weight(self, weight: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """W x + b for given W."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_weight(self.in_use(), x, self.bias)

    def _weight64(self) -> Tensor:
        weight = self._in_float64().in_use().detach()
        if tuple(weight.shape) != tuple(self.free_shape):  # rounding is counted by the latter
            shape, free = tuple(weight.shape), tuple(self.free_shape)
            raise UserError(f"the effective weight has shape {shape}, the free one {free}")
        return weight

    def _certified(self) -> float:
        """A certified bound on the norm of the float64 effective weight."""
        raise NotImplementedError

    def certified_on(self, shape: tuple[int, ...]) -> float:
        """The same for inputs of that shape alone, if that is less: of images, their sides."""
        return math.inf

    def proven_norm(self) -> float:
        """What a layer's own proof says of that norm, rounding included; infinity without one."""
        return math.inf

    def lipschitz_bound(self, tight: bool = False) -> float:
        self._check_finite()
        norm = self.proven_norm()
        if tight or norm == math.inf:
            norm = min(norm, self._certified())
        return norm if tight else max(1.0, norm)

    def _positions(self, shape: tuple[int, ...]) -> int:
        """How many outputs each unit or channel has."""
        raise NotImplementedError

    def local_error(self, shape, norm):
        positions, inner = self._positions(shape), math.prod(self.free_shape[1:])
        size, bias = magnitude(self._weight64()), self._bias_norm(positions)
        return dense_error(inner, self.free_shape[0] * positions, size, bias, norm)

    def norm_after(self, shape, norm):
        linear = norm * (self.lipschitz_bound(tight=True) * (1 + 8 * UNIT_ROUNDOFF))
        return (linear + self._bias_norm(self._positions(shape))) * (1 + 4 * UNIT_ROUNDOFF)


class LipschitzLinear(LipschitzAffine):
    """x -> W x + b.  x: (..., in_features) -> (..., out_features); weight: (out, in)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: str | None = "orthogonal",
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        shape = (out_features, in_features)
        self._make(shape, out_features if bias else None, init, device, dtype)

    def apply_weight(self, weight, x, bias=None):
        return F.linear(x, weight, bias)

    def _certified(self) -> float:
        return certified_norm(self._weight64())

    def _positions(self, shape):
        return math.prod(shape[:-1])

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, bias={self.bias is not None}"


class LipschitzConv2d(LipschitzAffine):
    """The cross-correlation of images with W, plus b: (..., in, h, w) -> (..., out, h', w').

    weight: (out, in, side, side), as torch's.  ``padding``: "same" or a number of zeros a side;
    ``padding_mode``: "zeros" or "circular"; no dilation, no groups.  The bounds hold for images of
    any size (see `lipexp.layers.windows.Window`).  Raises ValueError for other paddings.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | str = "same",
        bias: bool = True,
        *,
        padding_mode: str = "zeros",
        init: str | None = "orthogonal",
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.window = Window.of(kernel_size, stride=stride, padding=padding, mode=padding_mode)
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self._make(shape, out_channels if bias else None, init, device, dtype)

    def apply_weight(self, weight, x, bias=None):
        return self.window(x, weight, bias)

    def _check_finite(self):
        super()._check_finite()
        if type(self.window) is not Window or self.window.side != self.free_shape[2]:
            raise UserError("the window is not the one that the layer was made with")

    def _certified(self) -> float:
        return convolution_norm(self._weight64())

    def certified_on(self, shape):
        return convolution_norm(self._weight64(), self.window.torus(*shape[-2:]))

    def _positions(self, shape):
        window = self.window
        sides = [size + window.before + window.after - window.side for size in shape[-2:]]
        return math.prod(side // window.stride + 1 for side in sides)

    def extra_repr(self) -> str:
        window = self.window
        return (
            f"{self.in_channels} -> {self.out_channels}, kernel_size={window.side}, "
            f"stride={window.stride}, padding_mode={window.mode}, bias={self.bias is not None}"
        )


class Branch(NamedTuple):
    """g(x) = outer phi_c(inner x + bias), phi_c(u) = phi(c u) / c, c the scalar ``scale``.

    inner: (hidden, features), bias: (hidden,) or None, outer: (features, hidden), or kernels of
    such channels; t: (hidden,), the rescaling that stands in ``outer``.  With the weight's power of
    two c taken out of both, weights of any scale stay in range.
    """

    inner: Tensor
    bias: Tensor | None
    outer: Tensor
    scale: Tensor
    t: Tensor


class LipschitzResidual(FreeWeightModule):
    """x -> x - g(x) with g a layer of ``hidden`` units or channels, of the shape of x.

    ``activation`` is phi, a name or a module, elementwise with slopes in [0, 1].  A subclass writes
    ``branch``, how its matrices are applied, and its proof in ``lipschitz_bound``.
    """

    def _make_block(self, shape, bias, activation, init, device, dtype) -> None:
        self._make(shape, shape[0] if bias else None, init, device, dtype)
        if isinstance(activation, str):
            check_inside_residual(activation)
            activation = ACTIVATIONS[activation]()
        if not is_sound_inside_residual(activation):
            raise UserError(
                f"{type(activation).__name__} inside a residual layer is not known to have slopes "
                "in [0, 1]"
            )
        self.activation = activation

    def branch(self) -> Branch:
        """The block's matrices, scaled so that neither is beyond floating-point range."""
        raise NotImplementedError

    def _compute(self) -> Branch:
        return self.branch()

    def effective_weight(self) -> Tensor:
        """The matrix or kernel whose mean square is reported as the layer's effective weight."""
        raise NotImplementedError

    def apply_inner(self, inner: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def apply_outer(self, outer: Tensor, hidden: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        branch = self.in_use()
        phi = self.activation.at_scale(branch.scale)
        hidden = phi(self.apply_inner(branch.inner, x, branch.bias))
        return x - self.apply_outer(branch.outer, hidden)
