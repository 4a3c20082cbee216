"""`lipexp certify`: certificates against attacks, of a training or of weights from elsewhere."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from lipexp import checks
from lipexp.cli.parser import Parser
from lipexp.cli.progress import progress_bar
from lipexp.errors import RunError, UserError
from lipexp.runs.outcome import Outcome

if TYPE_CHECKING:
    from lipexp.runs.certify.request import Asked


def main(argv: list[str]) -> int:
    """Certifies every test input, attacks them, and prints what came of it in one line.

    Several runs one after another, whatever becomes of one of them; 1 where one failed.  Raises
    UserError for what cannot be certified, and RunError where an attack broke what was proven.
    """
    arguments = _parser().parse_args(argv)
    requests = _requests(arguments)
    failed = 0
    for request in requests:
        try:
            _certify(request(), quiet=arguments.quiet)
        except (UserError, RunError) as error:
            if len(requests) == 1:
                raise
            print(f"lipexp: {Outcome(error=error).line}", file=sys.stderr, flush=True)
            failed += 1
    return 1 if failed else 0


def _certify(asked: Asked, *, quiet: bool) -> None:
    from lipexp.runs.certify.folder import certify

    with progress_bar(shown=not quiet) as progress:
        outcome = certify(asked, progress)
    if outcome.text:
        print(outcome.folder if quiet else outcome.text, flush=True)
    if outcome.error:
        raise outcome.error


def _parser() -> Parser:
    parser = Parser(
        "lipexp certify",
        "Certifies every test input of finished trainings, and attacks the first ones of them: at\n"
        "each eps, and inside each input's own certified radius, where no attack may succeed.\n"
        "Adds to certificates.csv, summary.json and plots of a run's folder. Stopped, the same\n"
        "command goes on. With --weights: of a state dict made elsewhere (safetensors, or written\n"
        "by torch.save), for the network of a run or of a configuration; nothing is executed.",
        [
            "lipexp certify outputs/runs/train/aol-mlp-*",
            "lipexp certify outputs/runs/train/aol-mlp-* --eps 0.1,36/255 --attack-points 100",
        ],
    )
    parser.add_argument(
        "run",
        nargs="*",
        metavar="RUN",
        help="the folder of a finished training; several are certified one after another",
    )
    parser.add_argument("--weights", metavar="FILE", help="weights from elsewhere, in place of RUN")
    parser.add_argument(
        "--like",
        metavar="RUN_OR_CONFIG",
        help="whose network and data set: a run's folder, or a file such as its config.yaml",
    )
    parser.add_argument("--out", metavar="FOLDER", help="where the results of --weights go")
    parser.add_argument(
        "--eps", metavar="E,E", help="l2 radii, such as 0.3,36/255 (default: those of the run)"
    )
    parser.add_argument(
        "--attack-points",
        metavar="N",
        help="so many inputs from the beginning of the test set, or all (default: 1000 on a CPU, "
        "all on a GPU)",
    )
    parser.add_argument("--steps", metavar="N", help="of an attack (default: 40)")
    parser.add_argument("--restarts", metavar="N", help="of an attack (default: 2)")
    parser.add_argument("--seed", metavar="N", help="of the attacks' random starts (default: 0)")
    parser.add_argument("--device", metavar="D", help="auto, cpu, cuda, cuda:1 (default: auto)")
    parser.add_argument("--force", action="store_true", help="certify and attack again")
    parser.add_argument("-q", "--quiet", action="store_true", help="prints the folder alone")
    return parser


def _requests(arguments: Namespace) -> list[Callable[[], Asked]]:
    """One for each network; what is wrong with a RUN is raised when its turn comes."""
    from lipexp.runs.certify.request import EVERY, Attacks, of_run, of_weights

    eps, points = arguments.eps, arguments.attack_points
    typed = {
        "eps": None if eps is None else tuple(_checked("--eps", eps, _radii)),
        "points": points if points == EVERY else _whole("--attack-points", points, 1),
        "steps": _whole("--steps", arguments.steps, 1),
        "restarts": _whole("--restarts", arguments.restarts, 1),
        "seed": _whole("--seed", arguments.seed, 0),
        "device": _checked("--device", arguments.device, checks.device),
    }
    attacks = Attacks(**{key: value for key, value in typed.items() if value is not None})
    given = [name for name in ("weights", "like", "out") if getattr(arguments, name) is not None]
    if arguments.run and given:
        raise UserError(f"a RUN has its own weights and folder; --{given[0]} is for --weights FILE")
    if arguments.run:
        return [partial(of_run, run, attacks, force=arguments.force) for run in arguments.run]
    if not given:
        raise UserError("lipexp certify needs a RUN, or --weights FILE --like RUN --out FOLDER")
    for name in ("weights", "like", "out"):
        if name not in given:
            raise UserError(f"--weights, --like and --out belong together; --{name} is missing")
    files = (arguments.weights, arguments.like, arguments.out)
    return [partial(of_weights, *files, attacks, force=arguments.force)]


def _checked(option: str, text: str | None, check: Callable[[Any], Any]) -> Any:
    if text is None:
        return None
    try:
        return check(text)
    except ValueError as error:
        raise UserError(f"{option} {text}: {error}") from None


def _radii(text: str) -> list[str]:
    return checks.radii([item for item in text.strip("[]").split(",") if item.strip()])


def _whole(option: str, text: str | None, least: int) -> int | None:
    def check(text: str) -> int:
        digits = text.removeprefix("-")
        return checks.whole(least)(int(text) if digits.isascii() and digits.isdigit() else text)

    return _checked(option, text, check)
