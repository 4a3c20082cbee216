"""Who imports whom: rooms import downwards only, and what must start fast imports nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lipexp"
FILES = sorted(PACKAGE.rglob("*.py"))

# A file imports from its own room and from rooms that stand before it here.
ROOMS = [
    "errors",
    "collector",
    "files",
    "lazy",
    "registry",
    "streams",
    "plugins",
    "rationals",
    "theory",
    "lipschitz",
    "activations",
    "inits",
    "layers",
    "networks",
    "data",
    "probing",
    "certification",
    "training",
    "tasks",
    "defaults",
    "checks",
    "config",
    "plots",
    "runs",
    "runs.probe",
    "runs.certify",
    "runs.train",
    "runs.collect",
    "figures",
    "launching",
    "cli",
    "__init__",
    "__main__",
]

HEAVY = {"torch", "torchvision", "pandas", "scipy", "matplotlib", "hydra", "sklearn"}
LIGHT_ROOMS = {
    "errors",
    "collector",
    "files",
    "lazy",
    "tasks",
    "registry",
    "plugins",
    "rationals",
    "defaults",
    "checks",
    "config",
    "cli",
    "launching",
}


def room_of(path: Path) -> str:
    """The room of a file, by its path from the package's folder: the innermost in the order."""
    parts = path.as_posix().removesuffix(".py").split("/")
    return ".".join(parts[:2]) if ".".join(parts[:2]) in ROOMS else parts[0]


def is_light(path: Path) -> bool:
    return room_of(path) in LIGHT_ROOMS or path.name == "__init__.py"


def imported(node: ast.AST, path: Path) -> Iterator[str]:
    """The full names that an import statement in the file at that path may bring in."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        here = ("lipexp", *path.parent.parts)
        above = here[: len(here) - node.level + 1] if node.level else ()
        module = ".".join([*above, *([node.module] if node.module else [])])
        yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms_entered(node: ast.AST, path: Path) -> Iterator[str]:
    for name in imported(node, path):
        package, _, rest = name.partition(".")
        if package == "lipexp" and rest != "__version__":
            room = room_of(Path(*rest.split(".")))
            yield room if room in ROOMS else "__init__"


def executed_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that importing a file runs: those in functions and for types do not count."""
    for node in body:
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        branches = ["body", "orelse", "finalbody"]
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            branches.remove("body")
        for branch in branches:
            yield from executed_at_import(getattr(node, branch, []))
        for inner in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
            yield from executed_at_import(inner.body)


def complaints(path: Path, source: str) -> list[str]:
    """What is wrong with the imports of one file, given its path from the package's folder."""
    room = room_of(path)
    if room not in ROOMS:
        return [f"{path}: the room {room!r} has no place in the order yet"]
    tree = ast.parse(source)
    found = []
    for node in ast.walk(tree):
        for other in rooms_entered(node, path):
            if ROOMS.index(other) > ROOMS.index(room):
                found.append(f"{path}:{node.lineno}: {room} imports from {other}, which is below")
        if room == "theory" and any(n.split(".")[0] == "torch" for n in imported(node, path)):
            found.append(f"{path}:{node.lineno}: theory imports torch")
    if is_light(path):
        # A plugin of Hydra's is a subclass of Hydra's, and only Hydra imports it.
        heavy = HEAVY - ({"hydra"} if room == "launching" else set())
        for node in executed_at_import(tree.body):
            for name in imported(node, path):
                if name.split(".")[0] in heavy:
                    found.append(f"{path}:{node.lineno}: imports {name} on being imported")
    return found


def test_rooms_import_downwards_only_and_light_files_import_nothing_heavy():
    assert len(FILES) > 20
    found = [c for f in FILES for c in complaints(f.relative_to(PACKAGE), f.read_text("utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("layers/aol.py", "from lipexp.networks.mlp import MLP"),
        ("layers/aol.py", "from lipexp import runs"),
        ("layers/aol.py", "import lipexp.runs.execute"),
        ("layers/aol.py", "import lipexp"),
        ("layers/aol.py", "from lipexp import run"),
        ("layers/aol.py", "from ..networks import mlp"),
        ("layers/aol.py", "from .. import networks"),
        ("layers/families/aol.py", "from ...networks import mlp"),
        ("layers/aol.py", "def f():\n    from lipexp.networks import NETWORKS"),
        ("errors.py", "class C:\n    def f(self):\n        import lipexp.registry"),
        ("theory/rates.py", "def f():\n    import torch"),
        ("theory/rates.py", "from torch.nn import functional"),
        ("cli/run.py", "import numpy, torch.nn"),
        ("cli/run.py", "from hydra.core.config_store import ConfigStore"),
        ("cli/run.py", "try:\n    import torch\nexcept ImportError:\n    pass"),
        ("cli/run.py", "try:\n    pass\nexcept ImportError:\n    import torch"),
        ("cli/run.py", "if True:\n    pass\nelse:\n    import scipy"),
        ("cli/run.py", "class C:\n    import pandas"),
        ("cli/run.py", "with open('x'):\n    import matplotlib.pyplot as plt"),
        ("runs/execute.py", "from lipexp.runs.probe import task"),
        ("runs/load.py", "from lipexp.runs import certify"),
        ("runs/probe/task.py", "from lipexp.runs.train.report import epoch_line"),
        ("runs/certify/task.py", "from ..train import task"),
        ("config.py", "import sklearn"),
        ("layers/__init__.py", "import torch"),
        ("__init__.py", "import torch"),
        ("launching/hydra_plugins/lipexp/sweeper.py", "import torch"),
        ("elsewhere/new.py", ""),
    ],
)
def test_the_checker_sees_a_bad_import(path, source):
    assert len(complaints(Path(path), source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("layers/aol.py", "import torch\nfrom lipexp.layers.base import LipschitzLinear"),
        ("layers/aol.py", "from .base import LipschitzLinear\nfrom . import gram"),
        ("runs/execute.py", "from lipexp import __version__, data\nimport pandas"),
        ("runs/train/digest.py", "from lipexp.runs.certify import digest\nfrom .. import device"),
        ("cli/run.py", "def f():\n    import torch, lipexp.runs"),
        ("cli/run.py", "if TYPE_CHECKING:\n    import pandas"),
        ("launching/hydra_plugins/lipexp/sweeper.py", "from hydra.plugins.sweeper import Sweeper"),
        ("theory/rates.py", "import numpy\nfrom scipy import stats\nimport torchless"),
    ],
)
def test_the_checker_lets_a_good_import_be(path, source):
    assert complaints(Path(path), source) == []


def loaded_by(program: str) -> set[str]:
    """The heavy packages that are loaded after a program has run in a Python of its own."""
    program += "\nimport sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return HEAVY & set(run.stdout.split())


def test_lipexp_and_its_names_come_without_anything_heavy():
    assert loaded_by("import lipexp\nassert 'run' in dir(lipexp)") == set()


def test_light_modules_come_without_anything_heavy_through_others():
    light = [f.relative_to(PACKAGE.parent) for f in FILES if is_light(f.relative_to(PACKAGE))]
    names = [".".join(f.with_suffix("").parts).removesuffix(".__init__") for f in light]
    imports = [f"import {name}" for name in names if ".launching" not in name]
    assert len(imports) > 10
    assert loaded_by("\n".join(imports)) == set()


@pytest.mark.parametrize("name", ["torch", "hydra"])
def test_what_a_program_loads_is_seen(name):
    assert name in loaded_by(f"import lipexp, {name}")
