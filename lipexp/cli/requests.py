"""The words that are typed behind `lipexp run`, looked at before Hydra sees them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from lipexp.config import GROUPS, KEYS, choices, conf_folder
from lipexp.errors import UserError
from lipexp.registry import hint

LAUNCHERS = ("basic", "gpus", "submitit_local", "slurm")
FLAGS = ("-m", "--multirun", "--resolve")
FLAGS_WITH_VALUE = ("--cfg", "-c", "--config-dir", "-cd", "--package", "-p")


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """(flags, overrides): Hydra wants its flags first; anything else is refused with one line."""
    flags, overrides = [], []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if word in FLAGS:
            flags.append(word)
        elif name in FLAGS_WITH_VALUE:
            value = value if equals else next(words, None)
            if not value:
                raise UserError(f"{name} needs a value")
            if name in ("--cfg", "-c") and value not in ("job", "hydra", "all"):
                raise UserError(f"{name} {value}: must be job, hydra or all")
            flags += [name, value]
        elif not word.startswith("-"):
            overrides.append(word)
        elif (key := name.lstrip("-")) in KEYS or key in GROUPS:
            raise UserError(f"{word}: keys are written without dashes, {key}=VALUE")
        else:
            known = [*FLAGS, *FLAGS_WITH_VALUE, "--help", "--quiet", "--dry-run"]
            raise UserError(f"lipexp run has no option {name!r}; {hint(word, known)}")
    _check_overrides(overrides)
    return flags, overrides


def _check_overrides(overrides: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals and not word.startswith("~"):
            raise UserError(f"{word!r} is not KEY=VALUE{_guess(word)}")
        if not key:
            raise UserError(f"{word!r} is not KEY=VALUE; no spaces around the equals sign")
        name = key.lstrip("+~")
        group, _, rest = name.partition(".")
        if group in GROUPS and rest == "name":
            raise UserError(f"{word}: a choice is written {group}={value}")
        if name == "hydra.launcher":
            raise UserError(f"{word}: a launcher is written hydra/launcher={value}")
        if group == "hydra" and rest.partition(".")[0] not in ("launcher", "sweeper"):
            raise UserError(f"{word}: lipexp decides where Hydra writes; outputs=FOLDER is yours")
        if name in GROUPS and not re.fullmatch(r"[\w,.\-* ]+|choice\(.*\)|glob\(.*\)", value):
            raise UserError(f"{word}: choose one of {', '.join(choices(name))}")
        if name in GROUPS and value == "null":
            raise UserError(f"{word}: choose one of {', '.join(choices(name))}")
        if name in seen:
            raise UserError(f"{name} is given twice: {seen[name]} and {value}")
        seen[name] = value


def _guess(word: str) -> str:
    if word in KEYS or word in GROUPS:
        return "; no spaces around the equals sign"
    for group in (*GROUPS, "experiment"):
        if word in choices(group):
            return f"; did you mean {group}={word}?"
    return "; see lipexp run --help" if word == "help" else ""


def value_of(overrides: Sequence[str], key: str) -> str | None:
    """The typed value of one key, unparsed."""
    for word in overrides:
        name, _, value = word.partition("=")
        if name.lstrip("+") == key:
            return value
    return None


def plugins_of(flags: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The plugins that are typed, plugins=mine, plugins=[mine,other.py]; else the recipes' own.

    They are wanted before Hydra composes, which knows the names that they register from them alone.
    """
    typed_ones = value_of(overrides, "plugins")
    if typed_ones is not None:
        if re.search(r"\]\s*,", typed_ones):
            raise UserError(f"plugins={typed_ones}: all points have the same, [mine,other.py]")
        return _names(typed_ones)
    homes = [Path(home) for flag, home in pairwise(flags) if flag in ("--config-dir", "-cd")]
    files = [
        home / "experiment" / f"{recipe}.yaml"
        for recipe in _names(value_of(overrides, "experiment") or "")
        for home in (*homes, conf_folder())
    ]
    return list(dict.fromkeys(name for file in files for name in _plugins_in(file)))


def _names(value: str) -> list[str]:
    value = value.strip("'\"").strip("[]")
    return [name.strip(" '\"") for name in value.split(",") if name.strip(" '\"")]


def _plugins_in(recipe: Path) -> list[str]:
    """What a recipe says under ``plugins``; nothing of one that is none: Hydra says what it is."""
    import yaml

    try:
        names = yaml.safe_load(recipe.read_text(encoding="utf-8"))["plugins"]
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError):
        return []
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else []
