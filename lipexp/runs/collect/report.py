"""report.html: one file that opens from disk, with no network, no server and no library."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).with_name("report.html")

# What a browser could take for markup or, in a script, for the end of a line.
_ESCAPES = {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
_UNSAFE = re.compile("|".join(_ESCAPES))


def page(data: Mapping[str, Any], title: str) -> str:
    """The template with the data in it.  The same data give the same bytes.

    Whatever runs are called is text: the data stand in a block that no browser executes, with
    every < escaped, and the page's own script, allowed by its hash alone, writes text nodes only.
    """
    template = TEMPLATE.read_text(encoding="utf-8")
    policy = f"default-src 'none'; base-uri 'none'; form-action 'none'; {_allowed(template)}"
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    parts = {
        "policy": policy,
        "title": html.escape(title),
        "data": _UNSAFE.sub(lambda found: _ESCAPES[found[0]], text),
    }
    return re.sub(r"\{\{(policy|title|data)\}\}", lambda found: parts[found[1]], template)


def _allowed(template: str) -> str:
    """The part of a content security policy that allows the template's style and script."""
    return "; ".join(
        f"{tag}-src '{_digest(re.search(rf'<{tag}>(.*?)</{tag}>', template, re.DOTALL)[1])}'"
        for tag in ("style", "script")
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
