"""`lipexp list`: everything that can be chosen."""

from __future__ import annotations

from pathlib import Path

from lipexp.activations import ACTIVATIONS
from lipexp.cli.parser import Parser
from lipexp.config import BIASES, GROUPS, choice_keys, choices, conf_folder
from lipexp.data import DATASETS
from lipexp.errors import UserError
from lipexp.figures import FIGURES
from lipexp.inits import INITS
from lipexp.layers import LAYERS
from lipexp.networks import NETWORKS
from lipexp.registry import Registry, hint
from lipexp.tasks import TASKS
from lipexp.training import AUGMENTATIONS, OPTIMIZERS, SCHEDULES


def _of_registry(registry: Registry, group: str | None):
    for name in registry:
        keys = (choice_keys(group, name) or frozenset()) - {"name"} if group else ()
        note = f"  [{', '.join(f'{group}.{key}' for key in sorted(keys))}]" if keys else ""
        yield name, registry.entry(name).description + note


def _data_sets():
    from lipexp.data import on_disk

    for name in DATASETS:
        note = "" if on_disk(name) else f"  (not on disk; lipexp data {name} --download)"
        yield name, DATASETS.entry(name).description + note


def _experiments():
    for name in choices("experiment"):
        lines = (conf_folder() / "experiment" / f"{name}.yaml").read_text().splitlines()
        yield name, lines[1].lstrip("# ") if len(lines) > 1 else ""


def _biases():
    what = {
        "zero": "all zero",
        "default": "uniform on +-1/sqrt(fan_in), torch's",
        "normal": "N(0, 1)",
        "corrected": "N(0, 1 - n q/2): keeps the second moment, not the signal",
        "none": "no bias at all",
    }
    return ((name, what[name]) for name in BIASES)


# What can be listed: its plural, the key it is chosen by (figures: a name), and its lines.
SECTIONS = {
    "tasks": ("task", lambda: _of_registry(TASKS, "task")),
    "models": ("model", lambda: _of_registry(LAYERS, "model")),
    "networks": ("network", lambda: _of_registry(NETWORKS, "network")),
    "inits": ("init", lambda: _of_registry(INITS, "init")),
    "activations": ("activation", lambda: _of_registry(ACTIVATIONS, None)),
    "biases": ("bias", _biases),
    "optimizers": ("task.optimizer", lambda: _of_registry(OPTIMIZERS, None)),
    "schedules": ("task.schedule", lambda: _of_registry(SCHEDULES, None)),
    "augmentations": ("task.augment", lambda: _of_registry(AUGMENTATIONS, None)),
    "datasets": ("dataset", _data_sets),
    "experiments": ("experiment", _experiments),
    "figures": ("figure", lambda: _of_registry(FIGURES, None)),
}


def main(argv: list[str]) -> int:
    parser = Parser(
        "lipexp list",
        f"Prints what can be chosen: {', '.join(SECTIONS)}.",
        ["lipexp list", "lipexp list inits", "lipexp list train      (the keys of task=train)"],
    )
    parser.add_argument("what", nargs="*", help="a section, all of them if none is named")
    chosen = parser.parse_args(argv).what
    files = [file for what in chosen for file in _files(what)]
    if files and all(_section(what) is None for what in chosen):
        print("\n\n".join(_told(file) for file in files))
        return 0
    for what in chosen:
        if _section(what) is None:
            raise UserError(f"nothing to list under {what!r}; {hint(what, SECTIONS)}")
    names = [_section(what) for what in chosen] or list(SECTIONS)
    for position, name in enumerate(names):
        key, lines = SECTIONS[name]
        chosen_by = f"lipexp figures {key.upper()}" if name == "figures" else f"{key}=..."
        print(("\n" if position else "") + f"{name} ({chosen_by})")
        found = list(lines())
        width = max(16, *(len(choice) for choice, _ in found))
        for choice, description in found:
            print(f"  {choice:<{width}}  {description}")
    return 0


def _files(choice: str) -> list[Path]:
    """The files of the choices of that name, which say what their keys are."""
    return [
        conf_folder() / group / f"{choice}.yaml"
        for group in (*GROUPS, "experiment")
        if choice in choices(group)
    ]


def _told(file: Path) -> str:
    return f"{file.parent.name}={file.stem}\n{file.read_text(encoding='utf-8').rstrip()}"


def _section(what: str) -> str | None:
    """The section of a plural or of its key."""
    for name, (key, _) in SECTIONS.items():
        if what in (name, key, key.removeprefix("task.")):
            return name
    return None
