"""The wheel: what is in it, and that it works where there is no clone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def python(*arguments: str | Path, **options) -> str:
    """What a Python of its own prints; -P: its current folder is no source of modules."""
    called = subprocess.run(
        [sys.executable, "-P", *arguments], capture_output=True, text=True, **options
    )
    assert called.returncode == 0, called.stdout + called.stderr
    return called.stdout


def build(folder: Path, *what: str) -> Path:
    """The wheel of this clone, built with the tools of the test extra and without the network."""
    python("-m", "build", *what, "--no-isolation", "--outdir", folder, ROOT)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"), "--wheel")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder that holds lipexp as the wheel installs it, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-compile"]
    python("-m", "pip", "install", *options, "--target", folder, wheel)
    return folder


def files_below(folder: str, pattern: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern)}


def files_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_the_wheel_holds_every_module_and_every_choice_and_nothing_of_the_clone_besides(wheel):
    names = files_in(wheel)
    conf = {f"lipexp/{name}" for name in files_below("conf", "*.yaml")}
    assert "lipexp/conf/config.yaml" in conf
    held = {name for name in names if name.startswith("lipexp/")}
    assert {name for name in held if name.endswith(".py")} == files_below("lipexp", "*.py")
    assert {name for name in held if name.startswith("lipexp/conf/")} == conf
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"lipexp"}


def test_the_wheel_by_way_of_the_sdist_is_the_same(wheel, tmp_path):
    assert files_in(build(tmp_path)) == files_in(wheel)


def outside_the_clone(installed: Path, tmp_path: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return python(*arguments, cwd=tmp_path, env=environment)


def test_the_installed_package_finds_its_choices_in_itself(installed, tmp_path):
    program = (
        "import lipexp, lipexp.config as c; print(lipexp.__file__, c.conf_folder(), sep='\\n')"
    )
    found = outside_the_clone(installed, tmp_path, "-c", program).splitlines()
    assert found == [str(installed / "lipexp" / name) for name in ("__init__.py", "conf")]


def test_the_installed_command_lists_what_can_be_chosen(installed, tmp_path):
    assert "aol" in outside_the_clone(installed, tmp_path, "-m", "lipexp", "list", "models")
    assert list(tmp_path.iterdir()) == []


def test_the_installed_package_has_the_version_of_its_wheel(wheel, installed, tmp_path):
    version = outside_the_clone(
        installed, tmp_path, "-c", "import lipexp; print(lipexp.__version__)"
    )
    assert wheel.name.split("-")[1] == version.strip()
