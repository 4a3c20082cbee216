#!/usr/bin/env python
# ruff: noqa: E501
"""Whether the tests of certificates see every known way of being a little wrong.

    python scripts/mutants.py                 all mutants
    python scripts/mutants.py float32 slack   those whose names contain one of these words
    python scripts/mutants.py --list

Each mutant is an edit of the source, made in a temporary copy of package and tests, and is caught
if a test of tests/certification or tests/layers fails on it.  The test that is likeliest to see it
runs first, the rest only if it does not.  The table names the test that failed; the exit status is
1 if a mutant survives or if the copy without an edit fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SUITE = ("tests/certification", "tests/layers")


# Any example will do: none is made smaller, and the same ones are tried every time.
UNSHRUNK = """

from hypothesis import Phase, settings

settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], derandomize=True)
settings.load_profile("mutants")
"""


class Edit(NamedTuple):
    """``old``, which occurs once in lipexp/``file``, becomes ``new``."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    name: str
    first: str  # of SUITE: a file, or one test
    edits: tuple[Edit, ...]


def mutant(name: str, first: str, *edits: tuple[str, str, str]) -> Mutant:
    folder = SUITE[first.startswith(("test_convolution", "test_layer"))]
    return Mutant(name, f"{folder}/{first}", tuple(Edit(*edit) for edit in edits))


RADII, CONSTANTS = "certification/radii.py", "certification/constants.py"
BOUNDS, BASE = "layers/bounds.py", "layers/base.py"
EXACT, MISTAKES, STRICT = "test_exact_norms.py", "test_known_mistakes.py", "test_strictness.py"
ISOMETRIC, CRAFTED = "test_isometric_networks.py", "test_crafted_networks.py"

MUTANTS = [
    # ---- constants
    mutant(
        "K a thousandth too small",
        ISOMETRIC,
        (CONSTANTS, "    return result * (1 + 4 *", "    return 0.999 * result * (1 + 4 *"),
    ),
    mutant(
        "1 for sqrt2",
        ISOMETRIC,
        ("certification/scores.py", "2.0: SQRT2,", "2.0: 1.0,"),
    ),
    mutant(
        "sqrt2 for the 2 of rows w and -w",
        ISOMETRIC,
        (CONSTANTS, "pairs = distances * product", "pairs = 2**0.5 * (distances > 0) * product"),
    ),
    mutant(
        "sqrt2 for the 2 of score norm inf",
        "test_score_norms.py",
        ("certification/scores.py", "math.inf: 2.0}", "math.inf: SQRT2}"),
    ),
    mutant(
        "a score norm withstood at its factor",
        "test_score_norms.py",
        (
            "certification/scores.py",
            "UNIT_ROUNDOFF) > reach)",
            "UNIT_ROUNDOFF) >= reach * (1 - 1e-15))",
        ),
    ),
    mutant(
        "products of constants underflow",
        "test_network_constants.py",
        (CONSTANTS, "FLOOR = 2.0**-500", "FLOOR = 0.0"),
    ),
    mutant(
        "distances of rows not rounded up",
        "test_network_constants.py",
        (CONSTANTS, "* (1 + gamma(inputs + 8)) + 2.0**-900", "* (1 - 1e-9)"),
    ),
    # ---- bounds
    mutant(
        "power iteration for a norm",
        EXACT,
        (
            BOUNDS,
            "    m, n = matrix.shape\n    gram = matrix.mT @ matrix\n",
            "    m, n = matrix.shape\n    gram = matrix.mT @ matrix\n"
            "    v = torch.ones(n, dtype=torch.float64) / n**0.5\n"
            "    for _ in range(10):\n"
            "        v = gram @ v / (gram @ v).norm().clamp(min=1e-300)\n"
            "    return float((matrix @ v).norm()) * float(scale)\n",
        ),
    ),
    mutant(
        "a decomposition for a proof",
        EXACT,
        (
            BOUNDS,
            "return math.nextafter(norm, math.inf)\n        squared",
            "return float(torch.linalg.svdvals(matrix)[0]) * float(scale)\n        squared",
        ),
    ),
    mutant(
        "Gram iteration without its rounding",
        EXACT,
        (
            BOUNDS,
            "* (1 + 4 * UNIT_ROUNDOFF) * (bound + error).sqrt()",
            "* bound.sqrt() * (1 - 1e-15)",
        ),
    ),
    mutant(
        "a near orthogonal matrix bounded by 1",
        EXACT,
        (
            BOUNDS,
            "math.sqrt((1 + frobenius + gamma(m + 1) * own",
            "math.sqrt((1 + 0 * frobenius + gamma(m + 1) * own",
        ),
    ),
    mutant(
        "exactly 1 for a rescaled layer",
        EXACT,
        (
            BOUNDS,
            "    rows, columns = rows * side**2, columns * (2 * side - 1) ** 2\n",
            "    return 1.0\n    rows, columns = rows * side**2, columns * (2 * side - 1) ** 2\n",
        ),
    ),
    mutant(
        "less than 1 for a residual layer",
        "test_network_constants.py",
        ("layers/sll.py", "2 * self._kappa() - 1, math.inf)", "self._kappa() - 1e-3, math.inf)"),
    ),
    # ---- convolutions
    mutant(
        "the ring of the image for zero padding",
        "test_image_sizes.py",
        (
            "layers/windows.py",
            'if self.mode == "circular":\n            return height',
            "if True:\n            return height",
        ),
    ),
    mutant(
        "the ring of the image for torch's zero padding",
        "test_image_sizes.py",
        ("certification/known.py", "n + max((added + 1) // 2, added + 1 - k)", "n"),
    ),
    mutant(
        "a grid for all frequencies",
        "test_convolution_norms.py",
        (BOUNDS, "return bound / math.cos(math.pi * (side - 1) / grid) *", "return bound *"),
    ),
    mutant(
        "half of the frequencies left out",
        "test_image_sizes.py",
        (BOUNDS, "torch.arange(height // 2 + 1)", "torch.arange((height + 3) // 4)"),
    ),
    mutant(
        "lags of a kernel left out",
        "test_convolution_bounds.py",
        (
            "layers/gram.py",
            "zip(row.split(n, 1), places[i:], strict=True)",
            "zip(row.split(n, 1)[:1], places[i : i + 1], strict=True)",
        ),
    ),
    # ---- layers
    mutant(
        "an epsilon beside q",
        MISTAKES,
        (
            "layers/gram.py",
            "factor = torch.where(huge, 0.0, exponent).exp()",
            "factor = log_q.exp()[:, None] / (log_q.exp()[None, :] + 1e-6)",
        ),
    ),
    mutant(
        "exp(q) and exp(-q) apart",
        MISTAKES,
        (
            "layers/gram.py",
            "factor = torch.where(huge, 0.0, exponent).exp()",
            "factor = log_q.float().exp()[:, None] * (-log_q.float()).exp()[None, :]",
        ),
    ),
    mutant(
        "an absolute epsilon in AOL",
        EXACT,
        (
            "layers/gram.py",
            "_inverse_power(sums, -0.5,",
            "_inverse_power(sums + 1e-6, -0.5,",
        ),
    ),
    mutant(
        "AOL without its power of two",
        EXACT,
        ("layers/aol.py", "v = v / power_of_two(v)", "v = v * 1.0"),
    ),
    mutant(
        "float32 effective weights",
        EXACT,
        (
            "layers/aol.py",
            "return v * d.reshape(1, -1, *([1] * (v.dim() - 2)))",
            "return (v * d.reshape(1, -1, *([1] * (v.dim() - 2)))).float().to(v.dtype)",
        ),
    ),
    mutant(
        "abs inside a residual layer",
        "test_refusals.py",
        (
            "activations/__init__.py",
            "    return any(type(module) is",
            "    return True or any(type(module) is",
        ),
        (
            "activations/__init__.py",
            'if not 0 <= getattr(module, "negative_slope", 0.0) <= 1:',
            "if False:",
        ),
    ),
    mutant(
        "stale kept weights",
        "test_whole_set.py",
        (
            BASE,
            "return self._compute() if self._kept is None else self._kept",
            "self._kept = self._compute() if self._kept is None else self._kept\n        return self._kept",
        ),
    ),
    mutant(
        "weights kept while others are loaded",
        "test_misuse.py",
        (BASE, "        self._kept = None\n        super()._load", "        super()._load"),
    ),
    mutant(
        "a frozen layer may be edited",
        "test_misuse.py",
        (
            "certification/chain.py",
            "if not torch.allclose(a, b, rtol=close",
            "if False and not torch.allclose(a, b, rtol=close",
        ),
    ),
    mutant(
        "pooling of norm 1",
        "test_known_modules.py",
        (
            "certification/known.py",
            "self.constant = root_above(windows_per_entry(pair(pool.kernel_size), pair(pool.stride)))",
            "self.constant = 1.0",
        ),
    ),
    mutant(
        "the largest variance for the smallest",
        MISTAKES,
        (
            "certification/known.py",
            "self.largest = float(scale.abs().max())",
            "self.largest = float(scale.abs().min())",
        ),
    ),
    # ---- rounding
    mutant("no slack", CRAFTED, (RADII, "return margin_factor() * error", "return 0 * error")),
    mutant(
        "no slack elsewhere in the box",
        CRAFTED,
        (RADII, "off = rounding(error + elsewhere)", "off = rounding(error)"),
    ),
    mutant(
        "slack of a single rounding",
        "test_slack.py",
        (
            "lipschitz.py",
            "return gamma(inner + 2) * (magnitude",
            "return gamma(1) / 2 * (magnitude",
        ),
    ),
    mutant(
        "a bias counted once for all pixels",
        "test_convolution_rounding.py",
        (
            BASE,
            "norm = float(safe_norm(self.bias.detach().double())) * math.sqrt(positions)",
            "norm = float(safe_norm(self.bias.detach().double()))",
        ),
    ),
    mutant(
        "no floor for underflow",
        "test_convolution_rounding.py",
        ("lipschitz.py", "floor = 2 * math.sqrt(outputs) * (inner + 1) * TINY", "floor = 0.0"),
    ),
    mutant(
        "norms of signals that underflow",
        "test_slack.py",
        (
            "certification/slack.py",
            "unsafe = ~((norms >= 2.0**-400) & (norms <= LARGEST))",
            "unsafe = torch.zeros_like(norms, dtype=torch.bool)",
        ),
    ),
    mutant(
        "norms of weights that underflow",
        "test_refusals.py",
        (
            "lipschitz.py",
            "return torch.linalg.vector_norm(x / scale, dim=-1) * top.squeeze(-1)",
            "return torch.linalg.vector_norm(x, dim=-1)",
        ),
    ),
    mutant(
        "the rounding of k/255 forgotten",
        "test_slack.py",
        (
            "certification/slack.py",
            "return 2 * UNIT_ROUNDOFF * norm + math.sqrt(inputs) * TINY",
            "return 0 * norm",
        ),
    ),
    mutant(
        "a slope that rounds nothing",
        "test_odd_numbers.py",
        ("activations/two_slopes.py", "if self.negative_slope in (0.0, 1.0, -1.0):", "if True:"),
    ),
    # ---- the set and its comparison
    mutant(
        "radius >= eps",
        STRICT,
        (
            "certification/certificate.py",
            "return radii > next_above(eps)",
            "return radii >= next_above(eps)",
        ),
    ),
    mutant(
        "ties and wrong labels certified",
        STRICT,
        (
            RADII,
            "decided = (room > 0) & (margin > SMALLEST_MARGIN)",
            "quotients = quotients.abs()\n    decided = margin.isfinite() | margin.isinf()",
        ),
    ),
    mutant(
        "equal rows certified whatever their order",
        STRICT,
        (
            RADII,
            "decided = (room > 0) & (margin > SMALLEST_MARGIN)",
            "decided = (constant == 0) | (room > 0) & (margin > SMALLEST_MARGIN)",
        ),
    ),
    mutant(
        "NaN certified",
        STRICT,
        (
            RADII,
            "decided = (room > 0) & (margin > SMALLEST_MARGIN)",
            "decided = ~((room <= 0) | (margin <= SMALLEST_MARGIN))\n    quotients = quotients.nan_to_num(nan=1.0)",
        ),
        (
            "certification/passage.py",
            "passage.in_range &= norms <= LARGEST_SIGNAL",
            "passage.in_range &= ~(norms > LARGEST_SIGNAL)",
        ),
    ),
    mutant(
        "overflow certified",
        STRICT,
        (
            "certification/passage.py",
            "passage.in_range &= norms <= LARGEST_SIGNAL",
            "passage.in_range &= ~norms.isnan()",
        ),
    ),
    mutant(
        "a forward pass in float32",
        CRAFTED,
        (
            "certification/passage.py",
            "x = step.module(x)\n        passage.seconds_forward",
            "x = step.module(x).float().double()\n        passage.seconds_forward",
        ),
        ("certification/passage.py", "return x[0].cpu()", "return x[0].float().double().cpu()"),
    ),
    mutant(
        "images in float32",
        CRAFTED,
        (
            "certification/inputs.py",
            "return some / self.scale if self.whole else some",
            "return (some.float() / self.scale).double() if self.whole else some",
        ),
    ),
    mutant(
        "floats divided by 255 again",
        CRAFTED,
        (
            "certification/inputs.py",
            "return some / self.scale if self.whole else some",
            "return some / self.scale",
        ),
    ),
    mutant(
        "the last batch dropped",
        "test_whole_set.py",
        (
            "certification/passage.py",
            "for start in range(0, count, batch):",
            "for start in range(0, max(1, count // batch) * batch, batch):",
        ),
    ),
    mutant(
        "training mode",
        "test_whole_set.py",
        (
            BASE,
            ".to(dtype=dtype).eval().requires_grad_(False)",
            ".to(dtype=dtype).requires_grad_(False)",
        ),
        ("certification/chain.py", "Step(path, answering.eval())", "Step(path, answering)"),
    ),
    mutant(
        "inputs of a batch mixed",
        "test_misuse.py",
        ("certification/passage.py", "if len(x) != count:", "if False:"),
    ),
    mutant(
        "networks that do not repeat themselves",
        "test_tampering.py",
        (RADII, "if bool(apart > 2 * error[0] * (1 + 1e-12)):", "if False:"),
    ),
    mutant(
        "labels out of range",
        STRICT,
        (
            "certification/inputs.py",
            "wrong = (self.labels < 0) | (self.labels >= classes)",
            "wrong = self.labels >= 2 * classes",
        ),
    ),
    # ---- refusals
    mutant(
        "subclasses taken for what they derive from",
        "test_refusals.py",
        (
            "certification/chain.py",
            "elif kind not in KNOWN:",
            "elif not isinstance(module, tuple(KNOWN)):",
        ),
    ),
    mutant(
        "hooks overlooked",
        "test_refusals.py",
        (
            "certification/intact.py",
            "if module._forward_hooks or module._forward_pre_hooks:",
            "if False:",
        ),
    ),
    mutant(
        "inherited proofs",
        "test_misuse.py",
        (
            "certification/chain.py",
            "if home(proof) > home(written) and",
            "if False and home(proof) > home(written) and",
        ),
    ),
    mutant(
        "copies that are none",
        "test_tampering.py",
        ("certification/intact.py", "    if not same or not all(", "    if False and not all("),
    ),
    mutant(
        "denormals flushed",
        "test_tampering.py",
        (
            "certification/intact.py",
            "if bool(((smallest * 1).view(torch.int64) != 1).any()):",
            "if False:",
        ),
    ),
    mutant(
        "modules that work in place",
        "test_odd_numbers.py",
        ("certification/inputs.py", "dtype=torch.float64, copy=True)", "dtype=torch.float64)"),
    ),
    mutant(
        "whole numbers for q",
        "test_tampering.py",
        (
            "certification/intact.py",
            "if name in parameters and not tensor.is_floating_point():",
            "if False:",
        ),
    ),
    mutant(
        "a bias of another shape",
        "test_tampering.py",
        (
            BASE,
            "if self.bias is not None and tuple(self.bias.shape) != (self.bias_size,):",
            "if False:",
        ),
    ),
    mutant(
        "no test of the arithmetic",
        "test_refusals.py",
        ("certification/arithmetic.py", "    if not exact:", "    if False:"),
    ),
]


def apply(mutation: Mutant, folder: Path) -> None:
    """Edits a copy.  Raises SystemExit where what is to be replaced does not occur once."""
    for edit in mutation.edits:
        path = folder / "lipexp" / edit.file
        text = path.read_text(encoding="utf-8")
        if text.count(edit.old) != 1:
            raise SystemExit(f"{mutation.name}: {edit.old!r} occurs {text.count(edit.old)} times")
        path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")


def copied(folder: str) -> Path:
    """Package, tests and settings in a folder of their own."""
    target = Path(folder)
    ignore = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in ("lipexp", "tests", "conf"):
        shutil.copytree(ROOT / name, target / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", target)
    with (target / "tests" / "conftest.py").open("a", encoding="utf-8") as file:
        file.write(UNSHRUNK)
    return target


def failing(folder: Path, tests: list[str]) -> str | None:
    """The first test that fails, or None.  Raises SystemExit where the tests cannot run."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.setdefault("OMP_NUM_THREADS", "1")
    command = [sys.executable, "-P", "-m", "pytest", "-x", "-q", "--tb=no", "-rfE"]
    command += ["-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if done.returncode not in (1, 2) or not found:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return found.group(1)


def caught_by(mutation: Mutant) -> str | None:
    """The test that sees a mutant, or None."""
    with tempfile.TemporaryDirectory() as folder:
        target = copied(folder)
        apply(mutation, target)
        return failing(target, [mutation.first]) or failing(target, list(SUITE))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("words", nargs="*", help="parts of names")
    parser.add_argument("--list", action="store_true", help="names only")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if not options.words or any(w in m.name for w in options.words)]
    if not chosen:
        parser.error("no mutant is named so; see --list")
    if options.list:
        print("\n".join(m.name for m in chosen))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        without = failing(copied(folder), sorted({m.first for m in chosen}))
    if without:
        print(f"the tests fail without a mutant: {without}")
        return 1
    width = max(len(m.name) for m in chosen)
    survivors = 0
    for mutation in chosen:
        started = time.perf_counter()
        test = caught_by(mutation)
        survivors += test is None
        seconds = time.perf_counter() - started
        print(
            f"{mutation.name:{width}}  {seconds:5.1f} s  {test.removeprefix('tests/') if test else 'SURVIVES'}",
            flush=True,
        )
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
