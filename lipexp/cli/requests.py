"""One line for each request that Hydra refuses, and Hydra's command line made forgiving.

Hydra's own messages run over several lines and end in a trace.  The texts matched here are a
contract with hydra-core 1.3, held by tests.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lipexp.config import GROUPS, choices, conf_folder, unknown_key_line
from lipexp.errors import UserError
from lipexp.registry import nearest

FLAGS = ("-m", "--multirun", "--resolve")
FLAGS_WITH_VALUE = ("--cfg", "-c", "--config-dir", "-cd", "--package", "-p")


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """(flags, overrides): Hydra wants its flags first; anything else is refused with one line."""
    flags, overrides = [], []
    words = iter(argv)
    for word in words:
        name, equals, _ = word.partition("=")
        if word in FLAGS or (equals and name in FLAGS_WITH_VALUE):
            flags.append(word)
        elif word in FLAGS_WITH_VALUE:
            value = next(words, None)
            if value is None:
                raise UserError(f"{word} needs a value")
            flags += [word, value]
        elif word.startswith("-") and not re.match(r"-?\d", word):
            near = nearest(word, [*FLAGS, *FLAGS_WITH_VALUE, "--help", "--quiet"])
            raise UserError(f"lipexp run has no option {name!r}; nearest: {', '.join(near)}")
        else:
            overrides.append(word)
    _check_overrides(overrides)
    return flags, overrides


def _check_overrides(overrides: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals and not word.startswith("~"):
            raise UserError(f"{word!r} is not KEY=VALUE{_guess(word)}")
        name = key.lstrip("+~")
        if name in GROUPS and value in ("", "null"):
            raise UserError(f"{word}: choose one of {', '.join(choices(name))}")
        if name in seen:
            raise UserError(f"{name} is given twice: {seen[name]} and {value}")
        seen[name] = value


def _guess(word: str) -> str:
    for group in (*GROUPS, "experiment"):
        if word in choices(group):
            return f"; did you mean {group}={word}?"
    return ""


def value_of(overrides: Sequence[str], key: str) -> str | None:
    """The typed value of one key, unparsed."""
    for word in overrides:
        name, _, value = word.partition("=")
        if name.lstrip("+") == key:
            return value
    return None


def plugins_of(overrides: Sequence[str]) -> list[str]:
    """The plugins that are typed: plugins=mine, plugins=[mine,other.py]."""
    value = (value_of(overrides, "plugins") or "").strip("'\"").strip("[]")
    return [name.strip(" '\"") for name in value.split(",") if name.strip(" '\"")]


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """The one line for an exception of Hydra's or OmegaConf's."""
    missing = getattr(error, "missing_cfg_file", None)
    if missing:
        return _missing_choice(str(missing), list(getattr(error, "options", None) or []))
    message = str(error)
    override = getattr(error, "override", None)
    if override:
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
    """The first line of a message that says something."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else "the request cannot be read"


def _missing_choice(path: str, options: list[str]) -> str:
    group, _, name = path.rpartition("/")
    if group == "hydra/launcher":
        known = ", ".join(sorted(options)) or "basic"
        return f"unknown hydra/launcher {name!r}; known: {known}"
    kind = {"dataset": "data set"}.get(group, group)
    near = ", ".join(nearest(name, options or choices(group)))
    return f"unknown {kind} {name!r}; nearest: {near}" if near else f"there is no {kind} {name!r}"


def _unknown(key: str, overrides: Sequence[str]) -> str:
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
