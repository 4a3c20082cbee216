"""What may be asked of a run: keys, types, ranges, combinations; and one line for what may not.

``read`` turns a composed configuration into a checked ``Request`` without importing torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lipexp import plugins
from lipexp.activations import ACTIVATIONS, check_inside_residual, check_width
from lipexp.checks import (
    Check,
    between,
    chosen,
    device,
    flag,
    known,
    list_of,
    one_of,
    optional,
    positive,
    radii,
    text,
    whole,
)
from lipexp.data import DATASETS
from lipexp.defaults import defaults
from lipexp.errors import UserError
from lipexp.inits import INITS
from lipexp.layers import LAYERS
from lipexp.networks import NETWORKS
from lipexp.registry import Registry, hint
from lipexp.tasks import TASKS
from lipexp.training import AUGMENTATIONS, OPTIMIZERS, SCHEDULES

BIASES = ("zero", "default", "normal", "corrected", "none")

# The groups of conf/ whose choice is a name, and the registry that knows the names.
GROUPS: dict[str, Registry] = {
    "task": TASKS,
    "model": LAYERS,
    "network": NETWORKS,
    "init": INITS,
    "dataset": DATASETS,
}

KEYS: dict[str, Check] = {
    "depth": whole(1),
    "width": whole(1),
    "bias": one_of(*BIASES),
    "activation": known(ACTIVATIONS),
    "seed": whole(0),
    "replicates": whole(1),
    "batch": whole(1),
    "device": device,
    "dtype": one_of("float64", "float32"),
    "force": flag,
    "outputs": text,
    "plugins": list_of(text),
    "task.cotangent": one_of("gaussian", "ones", "loss"),
    "task.histograms": chosen("layers", 1),
    "task.operator_norms": flag,
    "task.epochs": whole(1),
    "task.optimizer": known(OPTIMIZERS),
    "task.lr": positive(),
    "task.weight_decay": between(0, math.inf),
    "task.schedule": known(SCHEDULES),
    "task.loss.offset": between(0, math.inf),
    "task.loss.temperature": positive(),
    "task.augment": known(AUGMENTATIONS),
    "task.validation": between(0, 1),
    "task.probe_epochs": chosen("epochs", 0),
    "task.eps": radii,
    "model.rows": one_of(True, False, "auto"),
    "model.q": one_of("one", "normal"),
    "model.hidden": optional(whole(1)),
    "network.activation": known(ACTIVATIONS),
    "network.head": one_of("same", "normalised"),
    "init.alpha": positive(),
    "init.beta": positive(infinite=True),
    "dataset.folder": optional(text),
    "dataset.verify": flag,
    "dataset.features": whole(1),
}

# What a run's numbers do not depend on, and so no part of its identity.
NOT_IDENTITY = ("device", "force", "outputs", "plugins", "dataset.folder", "task.eps")

RECIPE_HEADER = "its file must begin with the line: # @package _global_"


@lru_cache
def conf_folder() -> Path:
    """The folder of choices: inside the package when installed from a wheel, beside it in a clone.

    Raises RuntimeError for an installation that has neither.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "conf", here.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise RuntimeError(f"conf/ is neither in {here} nor beside it; install lipexp again")


@lru_cache
def choice_keys(group: str, name: str) -> frozenset[str] | None:
    """The keys of one shipped choice; None for a plugin's, whose keys are its own."""
    import yaml

    path = conf_folder() / group / f"{name}.yaml"
    if not path.is_file():
        return None
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return frozenset(flatten(content.get(group, content)))


@lru_cache
def choices(group: str) -> tuple[str, ...]:
    """The names of a group's shipped choices."""
    return tuple(sorted(p.stem for p in (conf_folder() / group).glob("*.yaml")))


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"init": {"beta": 1}} -> {"init.beta": 1}."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


@dataclass(frozen=True)
class Request:
    """A checked request for one run.  ``config`` is the resolved configuration as plain data."""

    config: Mapping[str, Any]

    def __getattr__(self, key: str) -> Any:
        try:
            return self.__dict__["config"][key]
        except KeyError:
            raise AttributeError(key) from None

    @property
    def residual(self) -> bool:
        return LAYERS.fact(self.model["name"], "residual", False)

    def group_keys(self, group: str) -> dict[str, Any]:
        """A choice's own keys, without its name."""
        return {k: v for k, v in self.config[group].items() if k != "name"}

    def identity(self) -> dict[str, Any]:
        """Everything that can change the numbers, as flat keys."""
        flat = {k: v for k, v in flatten(self.config).items() if k not in NOT_IDENTITY}
        sources = [plugins.source_of(name).encode() for name in self.plugins]
        hashes = sorted(hashlib.sha256(source).hexdigest() for source in sources)
        return flat | ({"plugins": hashes} if hashes else {})  # by whatever name they are found

    @property
    def name(self) -> str:
        """The run's folder name: what matters in words, and a hash over everything that does."""
        words = (
            self.model["name"],
            self.network["name"],
            f"d{self.depth}",
            f"w{self.width}",
            self.init["name"],
            self.dataset["name"],
            f"s{self.seed}",
        )
        canonical = json.dumps(self.identity(), sort_keys=True, default=str)
        return "-".join([*words, hashlib.sha256(canonical.encode()).hexdigest()[:8]])

    @property
    def folder(self) -> Path:
        return Path(self.outputs) / "runs" / self.task["name"] / self.name


def read(config: Mapping[str, Any]) -> Request:
    """Checks keys, types, ranges and combinations; raises UserError with one line."""
    if recipe := config.get("experiment"):  # Hydra put it there, beside the keys it should set
        raise UserError(
            f"experiment: {', '.join(map(str, recipe))} would be ignored; {RECIPE_HEADER}"
        )
    config = {key: value for key, value in config.items() if key != "experiment"}
    for name in list_of(text)(config.get("plugins") or []):
        plugins.load(name)  # a recipe's; those that are typed are loaded already
    for group, registry in GROUPS.items():
        choice = config.get(group)
        if not isinstance(choice, Mapping) or "name" not in choice:
            raise UserError(f"{group}={choice}: is a choice; {_choices_line(group)}")
        registry.entry(str(choice["name"]))
    flat = flatten(config)
    for key in flat:
        _check_is_known(key, config)
    flat = _settled(flat, config)
    for key in KEYS:
        if "." not in key and key not in config:
            raise UserError(f"{key} is missing")
    checked = {key: _checked(key, value, config) for key, value in flat.items()}
    request = Request(_unflatten(checked))
    _check_combination(request)
    return request


def _settled(flat: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The same keys with a default in place of null, where there is one."""
    chosen_names = {group: config[group]["name"] for group in GROUPS}
    residual = LAYERS.fact(config["model"]["name"], "residual", False)
    facts = {**flat, **chosen_names, "residual": residual}
    by_default = defaults(conf_folder() / "defaults.yaml", facts)
    settled = {k: by_default.get(k) if v is None else v for k, v in flat.items()}
    if "dataset.features" in settled and settled["dataset.features"] is None:
        settled["dataset.features"] = settled["width"]
    return settled


def _choices_line(group: str) -> str:
    return f"choose one of {', '.join(choices(group))}"


def _check_is_known(key: str, config: Mapping[str, Any]) -> None:
    group, _, rest = key.partition(".")
    if group in GROUPS:
        own = choice_keys(group, str(config[group]["name"]))
        if own is not None and rest not in own:
            raise UserError(unknown_key_line(key, {g: str(config[g]["name"]) for g in GROUPS}))
    elif key not in KEYS:
        raise UserError(unknown_key_line(key, {}))


def _checked(key: str, value: Any, config: Mapping[str, Any]) -> Any:
    group = key.partition(".")[0]
    plugins_own = group in GROUPS and choice_keys(group, str(config[group]["name"])) is None
    if key not in KEYS or plugins_own:
        return value
    try:
        return KEYS[key](value)
    except ValueError as error:
        raise UserError(f"{key}={typed(value)}: {error}") from None


def typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(typed(item) for item in value) + "]"
    if isinstance(value, str) and not _is_word(value):
        return f'"{_ESCAPED.sub(_escape, value)}"'
    return str(value)


def _is_word(value: str) -> bool:
    """Whether Hydra reads it as this text without quotation marks."""
    try:
        float(value)
    except ValueError:
        plain = re.fullmatch(r"[\w/.+:@%?|*$-]+", value, re.ASCII)
        return plain is not None and value.lower() not in ("null", "true", "false")
    return False


_ESCAPED = re.compile(r'\\*"|\\+$')  # Hydra: backslashes count only before a quotation mark


def _escape(match: re.Match[str]) -> str:
    return match[0].replace("\\", "\\\\").replace('"', '\\"')


def _unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        node = nested
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return nested


def _check_combination(request: Request) -> None:
    if request.residual:
        check_inside_residual(request.activation)
        check_width(request.network["activation"], request.width)
    else:
        check_width(request.activation, request.width)
    wanted = request.task.get("histograms")
    if isinstance(wanted, list) and wanted and max(wanted) > request.depth:
        raise UserError(f"task.histograms: layer {max(wanted)} is beyond depth={request.depth}")
    dataset = request.dataset["name"]
    if request.task["name"] == "train":
        _check_training(request, dataset)
    if request.task.get("cotangent") == "loss" and not DATASETS.fact(dataset, "classes"):
        raise UserError(f"task.cotangent=loss needs a data set with classes; {dataset} has none")


def _check_training(request: Request, dataset: str) -> None:
    if not DATASETS.fact(dataset, "classes"):
        raise UserError(f"task=train needs a data set with classes; {dataset} has none")
    if request.replicates > 1:
        raise UserError(
            f"replicates={request.replicates}: task=train trains one network; "
            "lipexp run -m seed=0,1 trains several"
        )
    wanted = request.task["probe_epochs"]
    if isinstance(wanted, list) and wanted and max(wanted) > request.task["epochs"]:
        raise UserError(
            f"task.probe_epochs: epoch {max(wanted)} is beyond task.epochs={request.task['epochs']}"
        )


def unknown_key_line(key: str, chosen: Mapping[str, str]) -> str:
    """What to say of a key that does not exist, given the groups' chosen names (may be empty)."""
    group, _, rest = key.partition(".")
    if rest and group in GROUPS:
        having = [name for name in sorted(GROUPS[group]) if rest in _own_keys(group, name)]
        name = chosen.get(group)
        subject = f"{group}={name}" if name else group
        if having:
            verb = "has" if len(having) == 1 else "have"
            return f"{subject} has no key {rest!r}; {group}={', '.join(having)} {verb}"
        own = _own_keys(group, name) if name else ()
        keys = f"its keys: {', '.join(sorted(own))}" if own else "it has none"
        return f"{subject} has no key {rest!r}; {keys}"
    every = {*(k for k in KEYS if "." not in k), *GROUPS, "experiment"}
    return f"unknown key {key!r}; {hint(key, every)}"


def _own_keys(group: str, name: str) -> frozenset[str]:
    """The keys of one choice, shipped or a plugin's; none of a name that is neither."""
    shipped = choice_keys(group, name)
    if shipped is not None:
        return shipped - {"name"}
    return frozenset(GROUPS[group].fact(name, "keys", ()) if name in GROUPS[group] else ())
