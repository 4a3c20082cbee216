"""Modules of one's own, imported before a run so that they can register layers and the like."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path

from lipexp.errors import UserError


def _is_file(name: str) -> bool:
    return name.endswith(".py")


@lru_cache
def source_of(name: str) -> str:
    """The source text of a plugin: a module's name, or a .py file's path.

    Raises UserError where there is none.
    """
    if _is_file(name):
        path = Path(name)
    else:
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
        if spec is None or spec.origin is None:
            raise UserError(f"plugins={name}: no module of that name here or installed")
        path = Path(spec.origin)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"plugins={name}: cannot be read: {error.strerror}") from error


@lru_cache
def load(name: str) -> None:
    """Imports a plugin once.  Raises UserError, with what went wrong in it."""
    source_of(name)
    try:
        if _is_file(name):
            path = Path(name).resolve()
            spec = importlib.util.spec_from_file_location(path.stem, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = module
            spec.loader.exec_module(module)
        else:
            importlib.import_module(name)
    except UserError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise UserError(f"plugins={name}: cannot be imported: {kind}: {error}") from error
