"""The points of a sweep: every combination of the values that were typed, each a checked request.

Composing a configuration costs 80 ms; values are put into one that was composed for the same choice
of groups, which costs 1.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

from lipexp import config
from lipexp.config import NOT_IDENTITY, Request
from lipexp.errors import UserError
from lipexp.tasks import TASKS

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig

MOST_NETWORKS = 64  # measured at once
UNSAID = ("outputs=", "force=", "hydra/", "hydra.", "+hydra", "++hydra")


@dataclass(frozen=True)
class Point:
    """One point: the words that make it, and its request, or why it has none."""

    words: tuple[str, ...]
    request: Request | None = None
    error: UserError | None = None

    @property
    def asked(self) -> str:
        """The words, without those that say where to compute and to write."""
        return " ".join(word for word in self.words if not word.startswith(UNSAID))


def expand(
    context: HydraContext,
    master: DictConfig,
    arguments: Sequence[str],
    explain: Callable[[Exception, Sequence[str]], str],
) -> list[Point]:
    """The points of a sweep, in the order of Hydra's own sweeper: the last key varies fastest.

    A combination that is refused is a point with an error; ``explain`` has the line for what Hydra
    says of a point's words.  Raises UserError for a kind of sweep that has no points, and what
    Hydra raises for words or choices that it does not know.
    """
    from hydra.errors import ConfigCompositionException, MissingConfigException

    composer = _Composer(context.config_loader, master)
    points = []
    for words in product(*_lists(context.config_loader, arguments)):
        try:
            points.append(Point(words, config.read(composer.compose(words))))
        except UserError as error:
            points.append(Point(words, error=error))
        except MissingConfigException:  # a choice that there is not
            raise
        except ConfigCompositionException as error:  # a key that this choice does not have
            points.append(Point(words, error=UserError(explain(error, words))))
    return points


def by_seed(points: Sequence[Point]) -> list[list[int]]:
    """The numbers of points that differ in their seeds alone and can be computed at once, together.

    Groups stand in the order of their first points and have at most MOST_NETWORKS networks.
    """
    groups: dict[str, list[int]] = {}
    found = []
    for number, point in enumerate(points):
        request = point.request
        if TASKS.fact(request.task["name"], "together") is None:
            found.append([number])
            continue
        others = {key: value for key, value in request.identity().items() if key != "seed"}
        key = json.dumps([others, request.outputs, request.device], sort_keys=True, default=str)
        group = groups.get(key)
        if group is None or (len(group) + 1) * request.replicates > MOST_NETWORKS:
            group = groups[key] = []
            found.append(group)
        group.append(number)
    return found


def _lists(loader, arguments: Sequence[str]) -> list[list[str]]:
    """For every key the words that set it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    lists: dict[str, list[str]] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(arguments)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            lists[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif key in NOT_IDENTITY and key != "outputs":
            raise UserError(
                f"{key} takes one value in a sweep: points that differ in it alone are the same run"
            )
        elif override.is_discrete_sweep():
            lists[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise UserError(f"{key}: a sweep is over values: {key}=1,2,3 or {key}='range(1,4)'")
    return list(lists.values())


class _Composer:
    """Configurations as plain data: composed once for each choice of groups."""

    def __init__(self, loader, master: DictConfig):
        self._loader, self._master = loader, master
        self._composed: dict[tuple, dict[str, Any]] = {}
        self._value = lru_cache(maxsize=4096)(self._parse)

    def compose(self, words: Sequence[str]) -> dict[str, Any]:
        values = {word: self._value(word) for word in words}
        rest = tuple(word for word, value in values.items() if value is None)
        keys = tuple(value[0] for value in values.values() if value is not None)
        if (rest, keys) not in self._composed:
            composed, refers = self._by_hydra(words)
            if refers:
                return composed
            self._composed[rest, keys] = composed
        composed = copy.deepcopy(self._composed[rest, keys])
        for value in values.values():
            if value is not None:
                *path, last = value[0].split(".")
                node = composed
                for name in path:
                    node = node[name]
                node[last] = copy.copy(value[1])
        return composed

    def _by_hydra(self, words: Sequence[str]) -> tuple[dict[str, Any], bool]:
        """The configuration, and whether a value in it refers to others.

        Raises UserError for a recipe out of a list of them whose own lists would go unread.
        """
        from omegaconf import OmegaConf, open_dict, read_write

        composed = self._loader.load_sweep_config(self._master, list(words))
        if composed.hydra.sweeper.params != self._master.hydra.sweeper.params:
            (recipe,) = (word for word in words if word.startswith("experiment="))
            raise UserError(f"{recipe}: a recipe with hydra.sweeper.params is chosen alone")
        with read_write(composed), open_dict(composed):
            del composed["hydra"]
        resolved = OmegaConf.to_container(composed, resolve=True)
        return resolved, resolved != OmegaConf.to_container(composed)

    def _parse(self, word: str) -> tuple[str, Any] | None:
        """(key, value) of a word that does nothing but set a value; None for one that does more."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        key = word.partition("=")[0]
        if not key.replace(".", "").replace("_", "").isalnum() or "${" in word:
            return None
        if key.startswith("hydra") or self._loader.get_group_options(key):
            return None
        (override,) = OverridesParser.create().parse_overrides([word])
        value = override.value()
        return None if isinstance(value, dict) else (key, value)
