"""One line for each request that Hydra refuses.

Hydra's own messages run over several lines and end in a trace.  The texts matched here are a
contract with hydra-core 1.3, held by tests.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from lipexp.cli.requests import LAUNCHERS, value_of
from lipexp.config import GROUPS, RECIPE_HEADER, choices, conf_folder, typed, unknown_key_line
from lipexp.registry import hint


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
    if match := re.match(r"Error merging override (.+)", message):
        return f"{match[1]}: {_reason(str(error.__cause__))}"
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
        return f"hydra/launcher={launcher} {_no_key_of(launcher, key.split('.')[2])}"
    if "@experiment" in key:
        return f"experiment: {key.partition('@')[0]} would be ignored; {RECIPE_HEADER}"
    if key.startswith("hydra"):
        return f"Hydra has no key {key!r}"
    if key in GROUPS:
        return f"{key}: choose one of {', '.join(choices(key))}"
    chosen = {g: value_of(overrides, g) or _default_choice(g) for g in GROUPS}
    return unknown_key_line(key, chosen)


def _no_key_of(launcher: str, key: str) -> str:
    from hydra.core.config_store import ConfigStore

    base = "submitit_slurm" if launcher == "slurm" else launcher
    keys = set(ConfigStore.instance().load(f"hydra/launcher/{base}.yaml").node) - {"_target_"}
    has = hint(key, keys, most=30) or "hydra/launcher=gpus has runs_per_gpu and slots"
    return f"has no key {key!r}; {has}"


def _default_choice(group: str) -> str:
    import yaml

    config = yaml.safe_load((conf_folder() / "config.yaml").read_text(encoding="utf-8"))
    for item in config["defaults"]:
        if isinstance(item, dict) and group in item:
            return item[group]
    return ""
