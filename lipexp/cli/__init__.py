"""The command line: `lipexp COMMAND ...`; one file per command, imported when it is asked for."""

from __future__ import annotations

import os
import sys

from lipexp import collector
from lipexp.cli import interrupts, output
from lipexp.errors import RunError, Terminated, UserError

COMMANDS = {
    "run": "one run, or with -m every point of a sweep",
    "certify": "certificates against attacks, of a training or of weights from elsewhere",
    "list": "what can be chosen",
    "data": "where the data sets are looked for, whether they are whole; fetches them",
    "collect": "all runs, finished or under way, as tables, plots and report.html",
    "figures": "the decay paper's figures measured anew, and the report beside print",
}

HELP = """\
usage: lipexp COMMAND ...

Does signal survive depth in a 1-Lipschitz network?

commands:
{commands}

examples:
  lipexp run model=sll depth=100 init=gnd
  lipexp list models

lipexp COMMAND --help tells more.
"""


def help_text() -> str:
    lines = (f"  {name:<10}{what}" for name, what in COMMANDS.items())
    return HELP.format(commands="\n".join(lines))


def main(argv: list[str]) -> int:
    """Runs one command; returns the exit status.  Raises what the command raises."""
    if argv in ([], ["help"]) or argv[0] in ("-h", "--help"):
        print(help_text(), end="")
        return 0
    if argv[0] == "--version":
        from lipexp import __version__

        print(f"lipexp {__version__}")
        return 0
    command, *rest = argv
    if command == "help":
        command, rest = rest[0], ["--help"]
    if "=" in command:
        raise UserError(f"{command!r} is no command; write lipexp run {' '.join(argv)}")
    if command not in COMMANDS:
        from lipexp.registry import hint

        raise UserError(f"unknown command {command!r}; {hint(command, COMMANDS)}")
    from importlib import import_module

    return import_module(f"lipexp.cli.{command}").main(rest)


def entry() -> None:
    """The console script: errors become one line on stderr and an exit status."""
    interrupts.install()
    output.install()
    status = guarded(sys.argv[1:])
    sys.stdout.flush()
    if sys.stdout.lost:
        print(f"lipexp: stdout cannot be written ({sys.stdout.lost})", file=sys.stderr)
        status = status or 1
    collector.end()
    sys.exit(status)


def guarded(argv: list[str]) -> int:
    """``main`` with every error turned into its line and status."""
    try:
        return main(argv)
    except (UserError, RunError) as error:
        if os.environ.get("LIPEXP_TRACEBACK") == "1":
            raise
        print(f"lipexp: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except Terminated as error:
        print(_interrupted("terminated", error), file=sys.stderr)
        return 143
    except KeyboardInterrupt as error:
        print(_interrupted("interrupted", error), file=sys.stderr)
        return 130


def _interrupted(what: str, error: KeyboardInterrupt) -> str:
    """With what a run has to say of what is left of it."""
    return "; ".join([f"lipexp: {what}", *map(str, error.args)])
