"""The networks of the laws in a few lines of numpy: definitions, no speed, no carried scale."""

from itertools import pairwise

import numpy as np


def haar(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Uniform with orthonormal columns, or orthonormal rows where there are fewer of them."""
    tall, narrow = max(rows, columns), min(rows, columns)
    basis, triangle = np.linalg.qr(rng.standard_normal((tall, narrow)))
    basis = basis * np.sign(np.diag(triangle))  # without the signs QR is not uniform
    return basis if rows >= columns else basis.T


def draw(rng: np.random.Generator, init: str, rows: int, columns: int) -> np.ndarray:
    if init == "orthogonal":
        return haar(rng, rows, columns)
    if init == "identity":
        return np.eye(rows, columns)
    if init == "uniform":
        return rng.uniform(-1, 1, (rows, columns))
    if init == "kaiming_normal":
        return rng.standard_normal((rows, columns)) * np.sqrt(2 / columns)
    return rng.standard_normal((rows, columns))


def aol(v: np.ndarray, q: np.ndarray | None = None) -> np.ndarray:
    q = np.ones(v.shape[1]) if q is None else q
    return v / np.sqrt((np.abs(v.T @ v) * q[:, None]).sum(0) / q)


def effective(rng: np.random.Generator, model: str, init: str, d: int, n: int, rows: bool):
    v = draw(rng, init, d, n)
    if model in ("linear", "orthogonal"):
        return v
    return aol(v.T).T if rows else aol(v)


def activate(name: str, z: np.ndarray, slope: float) -> np.ndarray:
    if name == "maxmin":
        pairs = np.sort(z.reshape(*z.shape[:-1], -1, 2), axis=-1)
        return pairs.reshape(z.shape)
    return {
        "relu": np.maximum(z, 0),
        "leaky_relu": np.where(z > 0, z, slope * z),
        "abs": np.abs(z),
        "identity": z,
        "tanh": np.tanh(z),
    }[name]


def pull_back(name: str, z: np.ndarray, cotangent: np.ndarray, slope: float) -> np.ndarray:
    """The transposed derivative of the activation at z, applied to a cotangent."""
    if name == "maxmin":
        order = np.argsort(z.reshape(*z.shape[:-1], -1, 2), axis=-1)
        pairs = cotangent.reshape(order.shape)
        return np.take_along_axis(pairs, np.argsort(order, axis=-1), axis=-1).reshape(z.shape)
    return (
        cotangent
        * {
            "relu": z > 0,
            "leaky_relu": np.where(z > 0, 1, slope),
            "abs": np.sign(z),
            "identity": 1.0,
            "tanh": 1 - np.tanh(z) ** 2,
        }[name]
    )


def feedforward(
    rng,
    model,
    init,
    activation,
    widths,
    *,
    inputs=1,
    rows=False,
    bias=None,
    slope=0.01,
    apart=None,
    masked=False,
):
    """One network on Gaussian inputs: second moments of z_0 ... z_L, of the cotangents there
    (Gaussian at z_L), and variances of z_0 ... z_L over the inputs.

    ``bias(n, d)`` is the standard deviation of a layer's Gaussian bias.  ``apart``: the inputs
    differ from one of them by so much instead of being independent.  ``masked``: the cotangent has
    passed the activation behind z_L, and is scaled back to its second moment there.
    """
    z = rng.standard_normal((inputs, widths[0]))
    if apart is not None:
        z = z[0] + apart * rng.standard_normal(z.shape)
    signals, weights = [z], []
    for n, d in pairwise(widths):
        by_rows = d < n if rows == "auto" else rows
        weights.append(effective(rng, model, init, d, n, by_rows))
        x = z if len(weights) == 1 else activate(activation, z, slope)
        z = x @ weights[-1].T
        if bias is not None:
            z = z + bias(n, d) * rng.standard_normal(d)
        signals.append(z)
    cotangent = rng.standard_normal(z.shape)
    if masked:
        cotangent = pull_back(activation, z, cotangent, slope)
        cotangent = cotangent / np.sqrt(np.mean(cotangent**2))
    gradients = [cotangent]
    for layer in range(len(weights), 0, -1):
        cotangent = cotangent @ weights[layer - 1]
        if layer > 1:
            cotangent = pull_back(activation, signals[layer - 1], cotangent, slope)
        gradients.append(cotangent)
    forward = [np.mean(s**2) for s in signals]
    backward = [np.mean(g**2) for g in reversed(gradients)]
    return np.array([forward, backward, [s.var(0).mean() for s in signals]])


def residual(rng, init, activation, features, hidden, depth, *, inputs=1, slope=0.01):
    """As `feedforward`, for residual SLL blocks y = x - 2 W T^-1 phi(W^T x), q = 1, no bias."""
    x, blocks = rng.standard_normal((inputs, features)), []
    forward = [np.mean(x**2)]
    for _ in range(depth):
        w = draw(rng, init, features, hidden)
        u, scaled = x @ w, w / np.abs(w.T @ w).sum(0)
        blocks.append((w, scaled, u))
        x = x - 2 * activate(activation, u, slope) @ scaled.T
        forward.append(np.mean(x**2))
    cotangent = rng.standard_normal(x.shape)
    backward = [np.mean(cotangent**2)]
    for w, scaled, u in reversed(blocks):
        cotangent = cotangent - 2 * pull_back(activation, u, cotangent @ scaled, slope) @ w.T
        backward.append(np.mean(cotangent**2))
    return np.array([forward, backward[::-1]])


def mean_and_error(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over networks (the first axis) and its standard error."""
    samples = np.asarray(samples)
    return samples.mean(0), samples.std(0) / np.sqrt(len(samples))
