"""Folders of runs as `lipexp run` leaves them, without running anything."""

import json

import yaml

METRIC = "decay_per_layer_forward"


def configuration(
    *, model="aol", init=None, depth=2, width=64, seed=0, dataset="digits", task=None
):
    return {
        "depth": depth,
        "width": width,
        "bias": "zero",
        "activation": "relu",
        "seed": seed,
        "replicates": 1,
        "batch": 1000,
        "device": "auto",
        "dtype": "float64",
        "force": False,
        "outputs": "/somewhere",
        "plugins": [],
        "model": {"name": model, "rows": False},
        "network": {"name": "mlp", "activation": "identity"},
        "init": init or {"name": "normal"},
        "dataset": {"name": dataset, "folder": None, "verify": True},
        "task": task or {"name": "probe", "cotangent": "gaussian", "histograms": [1, 2]},
    }


def layers_text(depth=2):
    lines = ["epoch,replicate,layer,name,fan_in,fan_out,log10_second_moment,log10_variance"]
    lines.append("0,0,0,input,,,-0.1,")
    lines += [f"0,0,{n},body.layer{n},64,64,{-1.5 * n},-inf" for n in range(1, depth + 1)]
    return "\n".join(lines) + "\n"


def make_run(root, name, *, summary=None, log=None, layers=True, **keys):
    folder = root / "probe" / name
    folder.mkdir(parents=True)
    text = "# lipexp run ...\n" + yaml.safe_dump(configuration(**keys), sort_keys=False)
    (folder / "config.yaml").write_text(text)
    if layers:
        (folder / "layers.csv").write_text(layers_text(keys.get("depth", 2)))
    if log is not None:
        (folder / "log.txt").write_text(log)
    if summary is not None:
        headline = {"name": name, "task": "probe", "depth": keys.get("depth", 2), **summary}
        (folder / "summary.json").write_text(json.dumps(headline))
    return folder


TRAINING = {
    "name": "train",
    "epochs": 3,
    "optimizer": "adam",
    "lr": 0.003,
    "loss": {"offset": 0.8, "temperature": 0.25},
    "probe_epochs": "auto",
    "eps": ["0.3", "1.58"],
}


def metrics_text(epochs=3, eps=("0.3", "1.58")):
    columns = [f"estimated_cra_{name}" for name in eps]
    head = ["epoch", "step", "lr", "train_loss", "train_accuracy", "test_accuracy", *columns]
    lines = [",".join([*head, "seconds", "images_per_second"])]
    for n in range(1, epochs + 1):
        cells = [n, 235 * n, 0.003 / n, 0.5 / n, 0.97, 0.96, *[0.9] * len(eps), 10.0, 6000.0]
        lines.append(",".join(map(str, cells)))
    return "\n".join(lines) + "\n"


def make_training(root, name, *, accuracy=None, cra=None, epochs=3, layers=True, log=None, **keys):
    """A trained run; without ``accuracy`` one that is under way.  ``cra``: share by eps."""
    folder = root / "train" / name
    folder.mkdir(parents=True)
    config = configuration(**{"dataset": "mnist", "task": TRAINING, **keys})
    config |= {"batch": 256, "dtype": "float32"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    if layers:
        (folder / "layers.csv").write_text(layers_text(config["depth"]))
    if epochs is not None:
        (folder / "metrics.csv").write_text(metrics_text(epochs))
    if log is not None:
        (folder / "log.txt").write_text(log)
    if accuracy is not None:
        summary = {"name": name, "task": "train", "test_accuracy": accuracy}
        summary |= {f"cra_{eps}": share for eps, share in (cra or {}).items()}
        summary |= {"epochs": epochs, "images_per_second": 6000.0, "parameters": 669706}
        summary |= {"median_radius": 0.9, "lipschitz_upper_bound": 1.0000000000001}
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder
