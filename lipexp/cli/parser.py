"""One kind of argument parser for every command: errors are one line, help ends in examples."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from lipexp.errors import UserError
from lipexp.registry import hint


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose mistakes are UserErrors, with the nearest option of a misspelt one.

    ``examples``: commands that run as printed.  Options are not abbreviated.
    """

    def __init__(self, prog: str, description: str, examples: Sequence[str], **options: Any):
        super().__init__(
            prog=prog,
            description=description,
            epilog="\n".join(("examples:", *(f"  {example}" for example in examples))),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )

    def parse_args(self, args=None, namespace=None):  # type: ignore[override]
        """The arguments.  Raises UserError for one that is not known."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            known = [option for option in self._option_string_actions if option.startswith("--")]
            option = unknown[0].partition("=")[0]
            if not option.startswith("-"):
                raise UserError(f"{self.prog} takes no {option!r}; see {self.prog} --help")
            raise UserError(f"{self.prog} has no option {option!r}; {hint(option, known)}")
        return parsed

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.removeprefix('argument ')}; see {self.prog} --help")
