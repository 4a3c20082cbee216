"""What a key is that nobody typed: by task, model, network, data set and what else was typed.

The rules stand in conf/defaults.yaml, blocks of conditions and values; every block whose conditions
hold counts, and a later one wins over an earlier one, whose values it may ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache
def _blocks(path: Path) -> list[Mapping[str, Mapping[str, Any]]]:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def defaults(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The default of every key that a rule speaks of, by flat key.

    ``facts``: the chosen task, model, network and dataset by name, whether the model is
    ``residual``, and every key that was typed.
    """
    typed = {key: value for key, value in facts.items() if value is not None}
    found: dict[str, Any] = {}
    for block in _blocks(path):
        known = found | typed
        if all(known.get(key) == value for key, value in block["when"].items()):
            found |= block["then"]
    return found
