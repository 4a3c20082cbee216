"""Sweeps of finished runs, file by file as `lipexp run` leaves them, without running anything.

As a program: python -m tests.runs.many_runs FOLDER COUNT DEPTH
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import yaml

from tests.runs.run_fakes import configuration

TABLE = (
    *("epoch", "replicate", "layer", "name", "fan_in", "fan_out"),
    *("log10_second_moment", "log10_variance", "mean_over_rms", "active_fraction"),
    *("log10_gradient_second_moment", "log10_gradient_variance"),
    *("log10_weight_gradient_second_moment", "log10_weight_variance"),
    *("operator_norm", "lipschitz_bound", "predicted_log10_second_moment"),
    *("predicted_log10_gradient_second_moment", "predicted_log10_weight_variance"),
    "predicted_typical_log10_second_moment",
    "predicted_typical_log10_gradient_second_moment",
)
RATES = {"aol": -1.18, "sll": -0.24, "sll_feedforward": -0.6, "linear": -0.3}
INITS = {"normal": 1.0, "gnd": 1.3, "orthogonal": 0.25}
WARNING = (
    "by the law, the signal's mean square falls to 10^-36 at layer 30; training in float32 needs "
    "about 10^-16, so this network will not learn. What carries signal to any depth: "
    "init=orthogonal activation=maxmin; init=identity"
)


def make_sweep(root, count, depth=30, width=64):
    """``count`` finished probes under ``root``/probe: models x inits x depths, and seeds."""
    depths = sorted({max(2, depth // 3), depth})
    points = itertools.product(range(count), depths, INITS, RATES)
    for seed, deep, init, model in itertools.islice(points, count):
        make_probe(root, model=model, init=init, depth=deep, width=width, seed=seed)


def make_probe(root, *, model, init, depth, width, seed):
    """One finished probe."""
    name = f"{model}-mlp-d{depth}-w{width}-{init}-digits-s{seed}-{abs(hash_of(model, init)):08x}"
    folder = Path(root) / "probe" / name
    (folder / "plots").mkdir(parents=True)
    own = {"alpha": 1.0, "beta": 0.5} if init == "gnd" else {}
    config = configuration(
        model=model, init={"name": init, **own}, depth=depth, width=width, seed=seed
    )
    command = f"lipexp run depth={depth} width={width} bias=zero activation=relu seed={seed} "
    command += "replicates=1 batch=1000 device=auto dtype=float64 outputs=outputs 'plugins=[]' "
    command += f"model={model} model.rows=false network=mlp network.activation=identity "
    command += f"init={init} dataset=digits dataset.folder=null dataset.verify=true task=probe"
    text = f"# {command}\n" + yaml.safe_dump(config, sort_keys=False)
    (folder / "config.yaml").write_text(text)
    rate = RATES[model] * INITS[init]
    (folder / "layers.csv").write_text(probed_text(depth, width, rate, seed))
    (folder / "summary.json").write_text(json.dumps(summary(name, depth, rate, seed), indent=2))
    (folder / "log.txt").write_text("layer  signal\n" * 20)
    return folder


def hash_of(*words):
    """A number for the end of a name; the same in every process."""
    return int.from_bytes("".join(words).encode()[:4], "big")


def probed_text(depth, width, rate, seed):
    """layers.csv of a network whose moments fall by ``rate`` decades a layer."""
    draw = np.random.default_rng([depth, seed])
    numbers = draw.normal(scale=0.05, size=(depth + 1, len(TABLE) - 6))
    forward = rate * np.arange(depth + 1)
    for column in (0, 1, 10, 13):
        numbers[:, column] += forward
    for column in (4, 5, 6, 11, 14):
        numbers[:, column] += forward[::-1]
    numbers[:, 9] = 1.0000000000002367
    lines = [",".join(TABLE)]
    for layer, row in enumerate(numbers.tolist()):
        fan = f"{width},{width}" if layer else ","
        label = f"body.layer{layer}" if layer else "input"
        lines.append(f"0,0,{layer},{label},{fan}," + ",".join(map(repr, row)))
    return "\n".join(lines) + "\n"


def summary(name, depth, rate, seed):
    """The headline numbers of a probe and where they come from."""
    noise = float(np.random.default_rng([seed, depth]).normal(scale=0.02))
    ways = {}
    for way in ("forward", "backward"):
        ways |= {
            f"decay_per_layer_{way}": rate + noise,
            f"predicted_decay_per_layer_{way}": rate * 0.98,
            f"predicted_typical_decay_per_layer_{way}": rate,
            f"half_life_layers_{way}": -0.30102999566398 / rate,
        }
    return {
        **{"name": name, "task": "probe", "depth": depth, "replicates": 1, "batch": 1000},
        **ways,
        **{"input_variance_per_layer": rate * 1.01, "law": "Gaussian law, in expectation"},
        **{"warning": WARNING, "dataset": "digits", "dataset_train": 1437, "dataset_test": 360},
        **{"dataset_fingerprint": "417b3bb7f5d98d03", "dataset_verified": True},
        **{"dtype": "float64", "device": "cpu", "threads": 1, "version": "0.1.0", "commit": None},
        **{"python": "3.11.7", "torch": "2.15.0+cu132", "numpy": "2.4.6", "seconds": 0.067},
    }


if __name__ == "__main__":
    folder, count, depth = sys.argv[1:]
    make_sweep(folder, int(count), int(depth))
