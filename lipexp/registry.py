"""A registry: names, facts and addresses of what can be chosen, listed without importing it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from lipexp.errors import UserError


def nearest(name: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """The candidates most like ``name``, best first; none where none is like it."""
    candidates, name = sorted(candidates), name.casefold()
    near = difflib.get_close_matches(name, candidates, count, cutoff=0.5)
    near += [c for c in candidates if c not in near and name and c.startswith(name)]
    return near[:count]


def hint(name: str, candidates: Iterable[str], most: int = 12) -> str:
    """What there is instead of ``name``: "nearest: sll", or "known: ..." where none is like it.

    Empty where there are no candidates.
    """
    known = sorted(candidates)
    if near := nearest(name, known):
        return f"nearest: {', '.join(near)}"
    shown = [*known[:most], "..."] if len(known) > most else known
    return f"known: {', '.join(shown)}" if known else ""


def resolve(where: Any) -> Any:
    """What stands at "package.module:attribute", imported now; anything else is itself."""
    if not isinstance(where, str):
        return where
    module, _, attribute = where.partition(":")
    return getattr(import_module(module), attribute)


@dataclass(frozen=True)
class Entry:
    """One choice: where its code is, what ``lipexp list`` says of it, and its facts.

    ``where`` is "package.module:attribute" or the object itself (a plugin's).  ``facts`` are known
    without importing the code, so that a wrong choice is refused before torch is.
    """

    where: Any
    description: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Any:
        return resolve(self.where)


class Registry(Mapping):
    """A mapping from name to class or function; built-ins are imported at first use.

    Raises UserError, with the nearest names, for a name that is not in it.
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry]):
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Any:
        return self.entry(name).load()

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, name: str) -> Entry:
        """The entry of that name, its code not imported."""
        if name not in self._entries:
            raise UserError(f"unknown {self.kind} {name!r}; {hint(str(name), self._entries)}")
        return self._entries[name]

    def fact(self, name: str, key: str, default: Any = None) -> Any:
        """One fact of an entry, its code not imported."""
        return self.entry(name).facts.get(key, default)

    def homes(self) -> dict[str, str]:
        """The built-in classes and functions by their own names: attribute -> module."""
        places = (entry.where for entry in self._entries.values() if isinstance(entry.where, str))
        return {place.partition(":")[2]: place.partition(":")[0] for place in places}

    def is_builtin(self, name: str) -> bool:
        return isinstance(self.entry(name).where, str)

    def register(self, name: str, description: str, **facts: Any) -> Callable[[Any], Any]:
        """Decorator for plugins: adds a class or function under a name that is not taken yet.

        Raises ValueError for a name that is taken: two things under one name would make a run's
        folder ambiguous.
        """

        def add(thing: Any) -> Any:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered already")
            self._entries[name] = Entry(thing, description, facts)
            return thing

        return add
