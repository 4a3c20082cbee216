"""One line for each request that Hydra refuses, and Hydra's command line made forgiving.

Hydra's own messages run over several lines and end in a trace.  The texts matched here are a
contract with hydra-core 1.3, held by tests.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from lipexp.config import (
    GROUPS,
    KEYS,
    RECIPE_HEADER,
    choices,
    conf_folder,
    typed,
    unknown_key_line,
)
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


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """The one line for an exception of Hydra's or OmegaConf's."""
    missing = getattr(error, "missing_cfg_file", None)
    if missing:
        return _missing_choice(str(missing), list(getattr(error, "options", None) or []))
    message = str(error)
    if match := re.search(r"Ambiguous value for argument '([^']+)'", message):
        return f"{match[1]}: several values make a sweep: lipexp run -m {match[1]}"
    if mark := getattr(error, "problem_mark", None):  # PyYAML's
        return f"{mark.name}, line {mark.line + 1}: no YAML: {error.problem}"
    override = getattr(error, "override", None)
    if override:
        key, _, value = override.partition("=")
        if not key.isascii():
            return _unknown(key, overrides)
        if not value.isascii() or set(" '\"") & set(value):
            return f"cannot read {override}; quote it twice: {shlex.quote(f'{key}={typed(value)}')}"
        return f"cannot read {override!r}: {_reason(message)}"
    match = re.search(r"Could not override '([^']+)'", message)
    if match:
        return _unknown(match[1], overrides)
    match = re.search(r"Could not append to config\. An item is already at '([^']+)'", message)
    if match:
        return f"{match[1]} exists already; type {match[1]}=VALUE without the plus"
    match = re.search(r"Could not delete from config\. '([^']+)'", message)
    if match:
        return f"{match[1]} cannot be taken out"
    match = re.search(r"[Ii]nterpolation key '([^']+)' not found", message)
    if match:
        return f"'${{{match[1]}}}' refers to a key that does not exist"
    if "Primary config directory not found" in message or "config-dir" in message:
        return f"--config-dir: {_reason(message)}"
    return _reason(message)


def _reason(message: str) -> str:
    """The first line of a message that says something; behind the file that Hydra was at."""
    lines = [line.strip().rstrip(".") for line in message.splitlines() if line.strip()]
    at = re.match(r"(In '[^']+'): \w+ raised while composing config:$", lines[0]) if lines else None
    if at and len(lines) > 1:
        return f"{at[1]}: {lines[1]}"
    return lines[0] if lines else "the request cannot be read"


def _missing_choice(path: str, options: list[str]) -> str:
    group, _, name = path.rpartition("/")
    if group == "hydra/launcher":
        if name.startswith("submitit"):
            return "this launcher needs submitit's: pip install 'lipexp[slurm]'"
        return f"unknown hydra/launcher {name!r}; known: {', '.join(LAUNCHERS)}"
    kind = {"dataset": "data set"}.get(group, group)
    instead = hint(name, options or choices(group))
    return f"unknown {kind} {name!r}; {instead}" if instead else f"there is no {kind} {name!r}"


def _unknown(key: str, overrides: Sequence[str]) -> str:
    if key.startswith("hydra.launcher."):
        launcher = value_of(overrides, "hydra/launcher") or "basic"
        own = "hydra/launcher=gpus has runs_per_gpu and slots"
        return f"hydra/launcher={launcher} has no key {key.rpartition('.')[2]!r}; {own}"
    if "@experiment" in key:
        return f"experiment: {key.partition('@')[0]} would be ignored; {RECIPE_HEADER}"
    if key.startswith("hydra"):
        return f"Hydra has no key {key!r}"
    if key in GROUPS:
        return f"{key}: choose one of {', '.join(choices(key))}"
    chosen = {g: value_of(overrides, g) or _default_choice(g) for g in GROUPS}
    return unknown_key_line(key, chosen)


def _default_choice(group: str) -> str:
    import yaml

    config = yaml.safe_load((conf_folder() / "config.yaml").read_text(encoding="utf-8"))
    for item in config["defaults"]:
        if isinstance(item, dict) and group in item:
            return item[group]
    return ""
