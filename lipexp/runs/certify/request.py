"""What `lipexp certify` is asked for: which network, attacked how, and where the results go."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from lipexp.config import Request, read
from lipexp.data import DATASETS
from lipexp.errors import UserError
from lipexp.registry import hint
from lipexp.runs.job import CHECKPOINT
from lipexp.runs.load import request_of

STEPS, RESTARTS = 40, 2
EVERY = "all"  # points


@dataclass(frozen=True)
class Attacks:
    """How it is attacked.

    ``eps``: radii as they were typed, None for the run's own; ``points``: of the test set, from its
    beginning, EVERY one, or None: by the device; ``device``: no part of the identity.
    """

    eps: tuple[str, ...] | None = None
    points: int | str | None = None
    steps: int = STEPS
    restarts: int = RESTARTS
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class Asked:
    """A network, by its configuration and its weights, and what is to be done to it.

    ``folder`` is a run's, or where the certificates of a file's weights go (``foreign``).
    """

    request: Request
    weights: Path
    folder: Path
    foreign: bool
    attacks: Attacks
    force: bool = False

    @property
    def eps(self) -> list[str]:
        """The radii attacked."""
        return list(self.attacks.eps or self.request.task["eps"])

    @property
    def certified_eps(self) -> list[str]:
        """The radii counted: a run keeps its own."""
        own = [] if self.foreign else self.request.task["eps"]
        return list(dict.fromkeys([*own, *self.eps]))

    @cached_property
    def weights_digest(self) -> str:
        """The sha256 of the file with the weights.  Raises UserError where it cannot be read."""
        try:
            with self.weights.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"{self.weights} cannot be read: {error.strerror}") from error

    def identity(self) -> str:
        """A hash over everything that can change the numbers, the weights in the file included."""
        attacks = self.attacks
        parts = {
            "eps": self.eps,
            "points": attacks.points,
            "steps": attacks.steps,
            "restarts": attacks.restarts,
            "seed": attacks.seed,
            "weights": self.weights_digest,
            "network": self.request.identity(),
        }
        canonical = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def of_run(run: str, attacks: Attacks, *, force: bool = False) -> Asked:
    """A finished training.  Raises UserError for a folder that is none."""
    folder = Path(run)
    if not _is_folder(run, asked=run):
        raise UserError(f"there is no folder {run}{_others(folder)}")
    request = request_of(folder)
    if request.task["name"] != "train":
        raise UserError(f"{run} is a {request.task['name']}: only a training can be certified")
    if not (folder / "summary.json").exists():
        raise UserError(
            f"{run} is not finished: the command in the first line of its config.yaml goes on"
        )
    if not (folder / CHECKPOINT).exists():
        raise UserError(
            f"{run} has no {CHECKPOINT}: there are no weights to certify; "
            "the command in the first line of its config.yaml, with force=true, trains them again"
        )
    return Asked(request, folder / CHECKPOINT, folder, False, attacks, force)


def of_weights(
    weights: str, like: str, out: str, attacks: Attacks, *, force: bool = False
) -> Asked:
    """A file of weights for the network of a run's folder, or of a configuration.

    Raises UserError for files that are not there, a data set without classes, a probe's
    configuration without eps, and an ``out`` that is a run's folder.
    """
    _check_weights(weights)
    request = _configured(Path(like))
    dataset = request.dataset["name"]
    if not DATASETS.fact(dataset, "classes"):
        raise UserError(f"--like {like}: {dataset} has no classes, so there is nothing to certify")
    if attacks.eps is None and "eps" not in request.task:
        raise UserError(f"--like {like} is a {request.task['name']}, without radii; type --eps 0.3")
    if any(os.path.exists(Path(out) / name) for name in (CHECKPOINT, "layers.csv")):
        raise UserError(f"--out {out} is the folder of a run; choose another")
    if (held := _others_file(Path(out))) is not None:
        raise UserError(f"--out {out} holds a {held} that is not lipexp's; choose another folder")
    return Asked(request, Path(weights), Path(out), True, attacks, force)


def _found(path: str, asked: str) -> os.stat_result | None:
    """What is at a path, None for nothing.  Raises UserError where that cannot be seen."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{asked}: cannot be read ({error.strerror})") from error


def _is_folder(path: str, asked: str) -> bool:
    found = _found(path, asked)
    return found is not None and stat.S_ISDIR(found.st_mode)


def _check_weights(weights: str) -> None:
    """Raises UserError for what is no file, or one with nothing in it."""
    asked, path = f"--weights {weights}", Path(weights)
    found = _found(weights, asked)
    if found is None:
        raise UserError(f"{asked}: there is no such file")
    if stat.S_ISDIR(found.st_mode):
        such = f", such as {path / CHECKPOINT}" if os.path.exists(path / CHECKPOINT) else ""
        raise UserError(f"{asked} is a folder; name the file with the weights{such}")
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{asked} is a pipe or a device; write the weights to a file first")
    if not found.st_size:
        raise UserError(f"{asked} is empty; torch.save(net.state_dict(), FILE) writes weights")


def _others_file(out: Path) -> str | None:
    """The file that certifying would write over in a folder that no certification has made."""
    config, mark = out / "config.yaml", b"# lipexp run "
    try:
        with config.open("rb") as file:
            if file.read(len(mark)) == mark:
                return None
    except OSError:
        pass  # none, or a folder that cannot be used, which is told where it is claimed
    names = ("config.yaml", "summary.json", "certificates.csv", "log.txt")
    return next((name for name in names if os.path.exists(out / name)), None)


def _configured(like: Path) -> Request:
    """The request of a run's folder, or of a file such as its config.yaml."""
    if _is_folder(str(like), asked=f"--like {like}"):
        return request_of(like)
    try:
        found = yaml.safe_load(like.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"--like {like}: there is no such file or folder") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"--like {like}: {_no_configuration(like)}") from error
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise UserError(f"--like {like}: {_no_configuration(like)}")
    try:
        return read(found)
    except UserError as error:
        raise UserError(f"--like {like}: {error}") from error


def _no_configuration(like: Path) -> str:
    return "is no configuration; lipexp run ... --cfg job prints one"


def _others(folder: Path) -> str:
    """The runs beside one that is not there."""
    try:
        names = [path.name for path in folder.parent.iterdir() if (path / CHECKPOINT).exists()]
    except OSError:
        names = []
    return f"; {hint(folder.name, names) or 'lipexp run task=train makes one'}"
