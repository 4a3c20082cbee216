"""Convolutional networks in a few lines of numpy: definitions, no speed, no carried scale."""

import numpy as np

from tests.theory.small_networks import activate, haar, pull_back


def row_sums(kernel: np.ndarray) -> np.ndarray:
    """T over the second axis of (c_o, c_i, k, k): sums of |correlations| over all displacements."""
    side = kernel.shape[-1]
    spectrum = np.fft.fft2(kernel, (2 * side - 1,) * 2)
    products = np.einsum("oiab,ojab->ijab", spectrum.conj(), spectrum)
    return np.abs(np.fft.ifft2(products).real).sum((0, 2, 3))


def aol_kernel(kernel: np.ndarray) -> np.ndarray:
    return kernel / np.sqrt(row_sums(kernel))[None, :, None, None]


def padded(x: np.ndarray, side: int, padding: str) -> np.ndarray:
    """Same padding for a k x k kernel."""
    before, after = (side - 1) // 2, side - 1 - (side - 1) // 2
    mode = {"zeros": "constant", "circular": "wrap"}[padding]
    return np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)), mode)


def convolve(x: np.ndarray, kernel: np.ndarray, padding: str) -> np.ndarray:
    wide = padded(x, kernel.shape[-1], padding)
    windows = np.lib.stride_tricks.sliding_window_view(wide, kernel.shape[2:], axis=(2, 3))
    return np.einsum("ncrsab,ocab->nors", windows, kernel, optimize=True)


def transposed(y: np.ndarray, kernel: np.ndarray, padding: str) -> np.ndarray:
    """The transpose of `convolve`, tap by tap."""
    k, side = kernel.shape[-1], y.shape[-1]
    x = np.zeros((len(y), kernel.shape[1], side, side))
    for a in range(k):
        for b in range(k):
            da, db = a - (k - 1) // 2, b - (k - 1) // 2
            part = np.einsum("nors,oc->ncrs", y, kernel[:, :, a, b])
            if padding == "circular":
                x += np.roll(part, (da, db), (2, 3))
                continue
            rows = slice(max(da, 0), min(side, side + da))
            columns = slice(max(db, 0), min(side, side + db))
            source_rows = slice(max(-da, 0), min(side, side - da))
            source_columns = slice(max(-db, 0), min(side, side - db))
            x[:, :, rows, columns] += part[:, :, source_rows, source_columns]
    return x


def unshuffle(x: np.ndarray, factor: int) -> np.ndarray:
    n, c, s, _ = x.shape
    blocks = x.reshape(n, c, s // factor, factor, s // factor, factor)
    return blocks.transpose(0, 1, 3, 5, 2, 4).reshape(n, c * factor**2, s // factor, s // factor)


def shuffle(x: np.ndarray, factor: int) -> np.ndarray:
    n, c, s, _ = x.shape
    blocks = x.reshape(n, c // factor**2, factor, factor, s, s)
    return blocks.transpose(0, 1, 4, 2, 5, 3).reshape(n, -1, s * factor, s * factor)


def over_channels(function, name, *arrays):
    """maxmin and its pull-back act on the last axis."""
    moved = [np.moveaxis(a, 1, -1) for a in arrays]
    return np.moveaxis(function(name, *moved, 0.2), -1, 1)


def draw_kernel(rng: np.random.Generator, init: str, out: int, inputs: int, side: int):
    if init == "normal":
        return rng.standard_normal((out, inputs, side, side))
    kernel = np.zeros((out, inputs, side, side))
    matrix = haar(rng, out, inputs) if init == "orthogonal" else np.eye(out, inputs)
    kernel[:, :, (side - 1) // 2, (side - 1) // 2] = matrix
    return kernel


def image_network(
    rng, model, init, activation, layers, x, *, between="identity", bias=0.0, padding="zeros"
):
    """One network on inputs x: mean squares of z_0 ... z_L and of the cotangents, slope 0.2."""
    z, ups, ways = x, [np.mean(x**2)], []
    for index, layer in enumerate(layers):
        k, inner = layer.kernel_size, None
        entering = z
        if index:
            name = between if model == "sll" else activation
            entering = over_channels(activate, name, z)
            factor = layers[index - 1].side // layer.side
            entering = unshuffle(entering[:, : layer.in_channels // factor**2], factor)
        kernel = draw_kernel(rng, init, layer.out_channels, layer.in_channels, k)
        if model == "sll":
            inner = convolve(entering, kernel, padding)
            sums = row_sums(kernel.transpose(1, 0, 2, 3))
            scaled = kernel / sums[:, None, None, None]
            after = entering - 2 * transposed(
                over_channels(activate, activation, inner), scaled, padding
            )
        else:
            scaled = aol_kernel(kernel) if model == "aol" else kernel
            after = convolve(entering, scaled, padding)
            after = after + bias * rng.standard_normal((1, layer.out_channels, 1, 1))
        ways.append((z, kernel, scaled, inner))
        z = after
        ups.append(np.mean(z**2))
    cotangent = rng.standard_normal(z.shape)
    downs = [np.mean(cotangent**2)]
    for index in range(len(layers) - 1, -1, -1):
        before, kernel, scaled, inner = ways[index]
        if model == "sll":
            back = over_channels(pull_back, activation, inner, convolve(cotangent, scaled, padding))
            cotangent = cotangent - 2 * transposed(back, kernel, padding)
        else:
            cotangent = transposed(cotangent, scaled, padding)
        if index:
            factor = layers[index - 1].side // layers[index].side
            cotangent = shuffle(cotangent, factor)
            dropped = before.shape[1] - cotangent.shape[1]
            cotangent = np.pad(cotangent, ((0, 0), (0, dropped), (0, 0), (0, 0)))
            name = between if model == "sll" else activation
            cotangent = over_channels(pull_back, name, before, cotangent)
        downs.append(np.mean(cotangent**2))
    return np.array([ups, downs[::-1]])
