"""The two set-up commands, on clones with a Python that only plays at making .venv.

The scripts run as they are, in /bin/sh, with a PATH of a few named tools.  The Python on it runs
the scripts' -c programs for real (under the version it is told to have) and plays venv, ensurepip
and pip; it notes each of its starts.  The last test is played by nobody.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ["cat", "cksum", "dirname", "mkdir", "mv", "printf", "readlink", "rm", "sh", "sleep"]
PATIENCE = 20.0  # seconds; what is waited for takes milliseconds

PLAYED_PYTHON = '''
import os, sys, time, types
from pathlib import Path

version, missing, me, *arguments = sys.argv[1:]
world, prefix = Path(os.environ["WORLD"]), Path(me).parent.parent

def note(step):
    with open(world / "steps", "a") as file:
        file.write(step + "\\n")
    if (world / f"hold {step.split()[0]}").exists():
        (world / "holding").touch()
        try:
            while (world / f"hold {step.split()[0]}").exists():
                time.sleep(0.01)
        except KeyboardInterrupt:
            sys.exit("cancelled")

def command(path, text):
    path.write_text(text)
    path.chmod(0o755)

match arguments:
    case ["-I", "-c", program]:
        note("program")
        sys.version_info = (*map(int, version.split(".")), 0, "final", 0)
        for name in missing.split():
            sys.modules[name] = None
        sys.modules["pip"] = types.ModuleType("pip") if (prefix / "pip").exists() else None
        exec(program)
    case ["-I", "-m", "venv", folder]:
        (Path(folder) / "bin").mkdir()
        command(Path(folder) / "bin" / "python", Path(me).read_text())
        note("venv")
        (Path(folder) / "pip").touch()
    case ["-I", "-m", "ensurepip"]:
        note("ensurepip")
        (prefix / "pip").touch()
    case ["-I", "-m", "pip", "install", *_, "-e", clone]:
        (prefix / "half").touch()
        note(f"pip {clone}")
        if not Path("pyproject.toml").exists():
            sys.exit("no project here")
        if (world / "full").exists():
            sys.exit("ERROR: Could not install: [Errno 28] No space left on device")
        if (world / "offline").exists():
            sys.exit("no network here")
        command(prefix / "bin" / "lipexp", """#!/bin/sh
case $1 in
    broken) exit 7 ;;
    echo) cat ;;
    sleep) echo $$; exec sleep 60 ;;
    *) printf '%s\\\\n' "$PWD" "$@" ;;
esac""")
        (prefix / "half").unlink()
    case ["-P", "-m", "pytest", *rest]:
        print(os.getcwd(), *rest, sep="\\n")
    case _:
        sys.exit(f"not a call that the scripts should make: {arguments}")
'''


@dataclass
class Clone:
    """A clone's folder, and beside it a world: the PATH, what Python noted, what holds it up."""

    root: Path
    world: Path

    def python(self, name: str, version: str, missing: str = "") -> None:
        """Puts a Python of that version, without those modules, on the PATH."""
        path = self.world / "bin" / name
        played = self.world / "played.py"
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{played}" {version} "{missing}" ')
        with path.open("a") as file:
            file.write('"$0" "$@"\n')
        path.chmod(0o755)

    @contextmanager
    def start(
        self,
        *arguments: str,
        script: str | Path = "lipexp",
        cwd: Path | None = None,
        shell: str | None = None,
    ) -> Iterator[subprocess.Popen]:
        """The script under way, in a session of its own, as on a terminal; none of it stays."""
        process = subprocess.Popen(
            [*([shutil.which(shell)] if shell else []), self.root / "scripts" / script, *arguments],
            cwd=cwd or self.world,
            env={"PATH": str(self.world / "bin"), "WORLD": str(self.world)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def call(self, *arguments: str, typed: str = "", **options) -> subprocess.CompletedProcess:
        with self.start(*arguments, **options) as process:
            out, err = process.communicate(typed, timeout=PATIENCE)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def steps(self) -> list[str]:
        """What Python was started for since the last question, its own checks left out."""
        return [step for step in self.starts() if step != "program"]

    def starts(self) -> list[str]:
        notes = self.world / "steps"
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return lines

    def hold(self, step: str) -> None:
        (self.world / f"hold {step}").touch()

    def wait_until_held(self) -> None:
        wait_for(self.world / "holding")

    def release(self, step: str) -> None:
        (self.world / "holding").unlink()
        (self.world / f"hold {step}").unlink()

    @property
    def venv(self) -> Path:
        return self.root / ".venv"


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.005)


def new_clone(root: Path) -> None:
    (root / "scripts").mkdir(parents=True)
    for name in ("lipexp", "test", "setup.sh"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts")
    (root / "pyproject.toml").write_text('[project]\nname = "lipexp"\n')


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A fresh clone whose path has spaces in it, on a machine with a Python 3.12."""
    world = tmp_path / "the world"
    (world / "bin").mkdir(parents=True)
    for tool in TOOLS:
        (world / "bin" / tool).symlink_to(shutil.which(tool))
    (world / "played.py").write_text(PLAYED_PYTHON)
    new_clone(tmp_path / "a clone")
    clone = Clone(tmp_path / "a clone", world)
    clone.python("python3", "3.12")
    return clone


FIRST_TIME = "lipexp: setting up .venv (first time, a few minutes)\n"
AGAIN = "lipexp: bringing .venv up to date\n"


def test_the_first_call_sets_up_and_then_runs_where_the_user_stands(clone, tmp_path):
    called = clone.call("run", "depth=3", cwd=tmp_path)
    assert called.returncode == 0
    assert called.stderr == FIRST_TIME
    assert called.stdout == f"{tmp_path}\nrun\ndepth=3\n"
    assert clone.steps() == ["venv", "pip ."]


def test_where_all_is_ready_no_python_is_started_and_nothing_is_said(clone):
    clone.call()
    clone.starts()
    assert clone.call("run").stderr == ""
    assert clone.starts() == []


def test_the_tests_run_at_the_top_of_the_clone_with_their_arguments(clone):
    called = clone.call("-k", "a and b", script="test")
    assert called.stdout == f"{clone.root}\n-k\na and b\n"
    assert clone.steps() == ["venv", "pip .[test]"]


def test_arguments_input_and_exit_status_pass_through(clone):
    assert clone.call("x y", "", "*").stdout.splitlines()[1:] == ["x y", "", "*"]
    assert clone.call("echo", typed="from stdin").stdout == "from stdin"
    assert clone.call("broken").returncode == 7


def test_the_command_takes_the_place_of_the_script_so_signals_reach_it(clone):
    clone.call()
    with clone.start("sleep") as process:
        assert int(process.stdout.readline()) == process.pid
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM


@pytest.mark.parametrize("script", ["lipexp", "test"])
def test_a_link_to_the_script_finds_its_clone(clone, tmp_path, script):
    (tmp_path / "link").symlink_to(clone.root / "scripts" / script)
    (tmp_path / "bin").symlink_to(clone.root / "scripts")
    (tmp_path / "link to link").symlink_to("link")
    for link in ("link", "link to link", f"bin/{script}"):
        assert clone.call(script=tmp_path / link, cwd=tmp_path).returncode == 0
    assert len(clone.steps()) == 2


def test_a_changed_pyproject_is_installed_once(clone):
    clone.call()
    clone.steps()
    with (clone.root / "pyproject.toml").open("a") as file:
        file.write('version = "2"\n')
    assert clone.call().stderr == AGAIN
    assert clone.steps() == ["pip ."]
    assert clone.call().stderr == ""


def test_an_update_needs_no_python_but_that_of_the_venv(clone):
    clone.call()
    (clone.world / "bin" / "python3").unlink()
    (clone.root / "pyproject.toml").write_text("[project]\n")
    assert clone.call().stderr == AGAIN


def test_a_set_up_for_the_tests_is_one_for_the_command_too(clone):
    clone.call(script="test")
    clone.steps()
    assert clone.call().stderr == ""
    assert clone.steps() == []


def test_the_tests_after_the_command_add_to_its_set_up_and_leave_it_valid(clone):
    clone.call()
    clone.steps()
    assert clone.call(script="test").stderr == AGAIN
    assert clone.steps() == ["pip .[test]"]
    assert clone.call().stderr == ""
    assert clone.steps() == []


@pytest.mark.parametrize("step", ["venv", "pip"])
def test_a_first_set_up_that_was_killed_is_begun_again(clone, step):
    clone.hold(step)
    with clone.start() as process:
        clone.wait_until_held()
        os.killpg(process.pid, signal.SIGKILL)
    clone.release(step)
    clone.steps()
    assert clone.call().stderr == FIRST_TIME
    assert clone.steps() == ["venv", "pip ."]
    assert not (clone.venv / "half").exists()
    assert clone.call().stderr == ""


def test_an_update_that_was_killed_is_not_taken_for_the_old_state(clone):
    clone.call()
    before = (clone.root / "pyproject.toml").read_text()
    (clone.root / "pyproject.toml").write_text(before + 'version = "2"\n')
    clone.hold("pip")
    with clone.start() as process:
        clone.wait_until_held()
        os.killpg(process.pid, signal.SIGKILL)
    clone.release("pip")
    clone.steps()
    (clone.root / "pyproject.toml").write_text(before)
    clone.call()
    assert clone.steps() == ["pip ."]


def test_where_the_script_alone_is_killed_the_next_call_waits_for_its_pip(clone):
    clone.hold("pip")
    with clone.start() as first:
        clone.wait_until_held()
        os.kill(first.pid, signal.SIGKILL)
        with clone.start() as second:
            assert second.stderr.readline().startswith("lipexp: waiting for another call")
            assert clone.steps() == ["venv", "pip ."]  # the first one's
            clone.release("pip")
            assert second.wait(PATIENCE) == 0


def test_calls_at_once_set_up_once_and_all_run(clone):
    clone.hold("venv")
    with ExitStack() as stack:
        calls = [stack.enter_context(clone.start(str(n))) for n in range(3)]
        clone.wait_until_held()
        clone.release("venv")
        for n, process in enumerate(calls):
            assert process.communicate(timeout=PATIENCE)[0].splitlines()[1:] == [str(n)]
            assert process.returncode == 0
    assert clone.steps() == ["venv", "pip ."]


@pytest.mark.parametrize(
    ("lost", "steps"),
    [
        ("bin/python", ["venv", "pip ."]),
        ("bin", ["venv", "pip ."]),
        ("bin/lipexp", ["pip ."]),
        ("setup.stamp", ["pip ."]),
    ],
)
def test_a_venv_that_lost_something_is_repaired(clone, lost, steps):
    clone.call()
    clone.steps()
    path = clone.venv / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert clone.call().returncode == 0
    assert clone.steps() == steps


def test_a_venv_without_pip_gets_it(clone):
    clone.call()
    clone.steps()
    (clone.venv / "pip").unlink()
    (clone.venv / "setup.stamp").unlink()
    assert clone.call().returncode == 0
    assert clone.steps() == ["ensurepip", "pip ."]


def test_a_venv_of_a_python_that_is_gone_or_too_old_is_made_anew(clone):
    clone.python("python3.9", "3.9")
    (clone.venv / "bin").mkdir(parents=True)
    shutil.copy(clone.world / "bin" / "python3.9", clone.venv / "bin" / "python")
    assert clone.call().stderr == FIRST_TIME
    (clone.venv / "bin" / "python").unlink()
    (clone.venv / "bin" / "python").symlink_to("/gone/python3.12")
    assert clone.call().stderr == FIRST_TIME
    assert clone.steps() == ["venv", "pip ."] * 2


def test_a_venv_made_by_hand_is_kept_and_installed_into(clone):
    (clone.venv / "bin").mkdir(parents=True)
    shutil.copy(clone.world / "bin" / "python3", clone.venv / "bin" / "python")
    (clone.venv / "pip").touch()
    (clone.venv / "precious").touch()
    assert clone.call().stderr == AGAIN
    assert clone.steps() == ["pip ."]
    assert (clone.venv / "precious").exists()
    assert clone.call().stderr == ""


def test_a_venv_that_is_a_link_to_another_disk_stays_one(clone, tmp_path):
    (tmp_path / "disk").mkdir()
    clone.venv.symlink_to(tmp_path / "disk")
    clone.call()
    (tmp_path / "disk" / "bin" / "python").unlink()
    assert clone.call().returncode == 0
    assert clone.venv.is_symlink()
    assert (tmp_path / "disk" / "setup.stamp").exists()


def test_a_copied_clone_runs_its_own_code_and_not_the_one_it_was_copied_from(clone, tmp_path):
    clone.call()
    clone.steps()
    shutil.copytree(clone.root, tmp_path / "copy")
    assert clone.call(script=tmp_path / "copy" / "scripts" / "lipexp").stderr == AGAIN
    assert clone.steps() == ["pip ."]


def admitted_versions() -> list[str]:
    """The 3.x of pyproject.toml's requires-python, ">=3.a,<3.b"."""
    text = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    low, high = (int(bound.rpartition(".")[2]) for bound in text.split(","))
    return [f"3.{minor}" for minor in range(low, high)]


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.13", "3.14"])
def test_the_versions_that_will_do_are_those_of_pyproject(clone, version):
    clone.python("python3", version)
    called = clone.call()
    if version in admitted_versions():
        assert called.returncode == 0
    else:
        assert (called.returncode, called.stdout) == (1, "")
        *but_last, last = admitted_versions()
        assert called.stderr.startswith(f"lipexp: Python {', '.join(but_last)} or {last} is needed")
        assert called.stderr.count("\n") == 1
        assert not clone.venv.exists()


def test_each_admitted_version_is_found_by_its_own_name(clone):
    clone.python("python3", "3.9")
    for version in admitted_versions():
        clone.python(f"python{version}", version)
        assert clone.call().returncode == 0
        shutil.rmtree(clone.venv)
        (clone.world / "bin" / f"python{version}").unlink()


def test_no_python_at_all_is_one_line_and_status_1(clone):
    (clone.world / "bin" / "python3").unlink()
    called = clone.call()
    assert (called.returncode, called.stdout, called.stderr.count("\n")) == (1, "", 1)


def test_an_unfinished_set_up_whose_python_has_gone_says_so(clone):
    clone.hold("pip")
    with clone.start() as process:
        clone.wait_until_held()
        os.killpg(process.pid, signal.SIGKILL)
    (clone.world / "bin" / "python3").unlink()
    called = clone.call()
    assert called.returncode == 1
    assert "is needed" in called.stderr


def test_a_python_without_ensurepip_names_the_package_in_one_line(clone):
    clone.python("python3", "3.12", missing="ensurepip")
    called = clone.call()
    assert called.returncode == 1
    assert called.stderr.count("\n") == 1
    assert "apt install python3.12-venv" in called.stderr
    assert clone.steps() == []
    assert not clone.venv.exists()


def test_a_python_without_ensurepip_is_passed_over_where_another_has_it(clone):
    clone.python("python3.13", "3.13", missing="ensurepip")
    assert clone.call().returncode == 0


def test_a_failed_installation_shows_its_log_and_is_tried_again(clone):
    (clone.world / "offline").touch()
    called = clone.call("run")
    assert (called.returncode, called.stdout) == (1, "")
    assert "no network here\n" in called.stderr
    assert called.stderr.splitlines()[-1].startswith("lipexp: setting up .venv failed")
    assert "no network here" in (clone.venv / "setup.log").read_text()
    (clone.world / "offline").unlink()
    assert clone.call("run").returncode == 0


def test_a_full_disk_is_one_line_that_says_how_much_is_wanted(clone):
    (clone.world / "full").touch()
    failed = clone.call()
    assert (failed.returncode, failed.stdout) == (1, "")
    *_, line = failed.stderr.splitlines()
    assert line.startswith("lipexp: setting up .venv failed: the disk is full; it takes 6 GB, and")
    assert len(failed.stderr.splitlines()) == 2  # after "setting up"
    (clone.world / "full").unlink()
    assert clone.call().returncode == 0


def test_a_failed_update_leaves_what_is_in_the_venv(clone):
    clone.call()
    (clone.venv / "precious").touch()
    (clone.root / "pyproject.toml").write_text("[project]\n")
    (clone.world / "offline").touch()
    for _ in range(2):
        assert clone.call().returncode == 1
    assert (clone.venv / "precious").exists()


@pytest.fixture
def ctrl_c():
    """Interrupts a process and all that it started, as the terminal does."""
    # Where the tests themselves run in the background, what they start would ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda process: os.killpg(process.pid, signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("shell", [None, "bash"])  # bash goes on where its child exits
def test_ctrl_c_while_setting_up_ends_it_without_a_log(clone, ctrl_c, shell):
    if shell and not shutil.which(shell):
        pytest.skip(f"no {shell}")
    clone.hold("pip")
    with clone.start(shell=shell) as process:
        clone.wait_until_held()
        ctrl_c(process)
        err = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode in (130, -signal.SIGINT)
    assert err == FIRST_TIME


def test_ctrl_c_while_waiting_for_another_call_ends_it_without_a_trace(clone, ctrl_c):
    clone.hold("pip")
    with clone.start():
        clone.wait_until_held()
        with clone.start() as waiting:
            assert waiting.stderr.readline().startswith("lipexp: waiting for another call")
            ctrl_c(waiting)
            assert waiting.communicate(timeout=PATIENCE) == ("", "")
            assert waiting.returncode in (130, -signal.SIGINT)


BACKEND = """
import pathlib, zipfile

INFO = "lipexp-1.dist-info"
FILES = {
    "lipexp_clone.pth": str(pathlib.Path(__file__).parent),
    f"{INFO}/METADATA": "Metadata-Version: 2.1\\nName: lipexp\\nVersion: 1\\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    f"{INFO}/entry_points.txt": "[console_scripts]\\nlipexp = backend:main\\n",
}

def build_editable(folder, config_settings=None, metadata_directory=None):
    record = {f"{INFO}/RECORD": "".join(f"{name},,\\n" for name in [*FILES, f"{INFO}/RECORD"])}
    with zipfile.ZipFile(pathlib.Path(folder, "lipexp-1-py3-none-any.whl"), "w") as wheel:
        for name, text in (FILES | record).items():
            wheel.writestr(name, text)
    return "lipexp-1-py3-none-any.whl"

def main():
    print(__file__)
"""


def test_a_real_python_sets_up_a_real_venv(tmp_path):
    name = f"python3.{sys.version_info.minor}"
    python = Path(sys.base_prefix, "bin", name)
    if subprocess.run([python, "-c", "import ensurepip"], capture_output=True).returncode:
        pytest.skip(f"{python} has no ensurepip")
    new_clone(tmp_path / "a clone")
    with (tmp_path / "a clone" / "pyproject.toml").open("a") as file:
        file.write('version = "1"\n[build-system]\nrequires = []\nbuild-backend = "backend"\n')
        file.write('backend-path = ["."]\n')
    (tmp_path / "a clone" / "backend.py").write_text(BACKEND)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    for _ in range(2):
        called = subprocess.run(
            [tmp_path / "a clone" / "scripts" / "lipexp"],
            env=os.environ | {"PATH": path, "PIP_NO_INDEX": "1"},
            capture_output=True,
            text=True,
        )
        assert called.returncode == 0, called.stderr
        assert called.stdout == f"{tmp_path / 'a clone' / 'backend.py'}\n"
    assert called.stderr == ""
