"""Configurations that are nearly alike, read quickly: what was seen before is not parsed anew."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

# libyaml, where PyYAML was built with it, reads a configuration ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_ENTRY = re.compile(rb"^(?=[^\s#-])", re.MULTILINE)  # a line that begins an entry of the root
_PLAIN_KEY = re.compile(rb"[A-Za-z_]\w*:[ \n]")


def load(content: bytes) -> Any:
    """What ``yaml.load`` gives; the entries of a plain mapping are parsed one by one, each once.

    The runs of a sweep differ in a few lines.  An entry is known by its very text, so that nothing
    can be out of date.  What is returned is shared: read it, do not change it.  Raises
    yaml.YAMLError for what is no YAML.
    """
    try:
        return _by_entries(content)
    except (ValueError, yaml.YAMLError):
        return yaml.load(content, LOADER)


def _by_entries(content: bytes) -> dict[str, Any]:
    comment, *entries = _ENTRY.split(content)
    if comment and yaml.load(comment, LOADER) is not None:
        raise ValueError("more than entries")
    merged: dict[str, Any] = {}
    for entry in entries:
        merged |= _entry(entry)
    if not merged:
        raise ValueError("no entry")
    return merged


@lru_cache(maxsize=16384)
def _entry(text: bytes) -> Mapping[str, Any]:
    """One entry of the root; ValueError where its text is no plain one."""
    if b"&" in text or not _PLAIN_KEY.match(text):  # an anchor reaches into other entries
        raise ValueError("no plain entry")
    entry = yaml.load(text, LOADER)
    if not isinstance(entry, Mapping):
        raise ValueError("no entry")
    return entry
