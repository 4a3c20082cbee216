"""lipexp data: where each data set is looked for, whether it is whole; fetches it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipexp.cli.parser import Parser

if TYPE_CHECKING:
    from lipexp.data import Status


def main(argv: list[str]) -> int:
    """One line a set.  Returns 1 where a set that was asked for is not whole in the end.

    Raises UserError for a wrong request, RunError for a download that fails.
    """
    arguments = _parser().parse_args(argv)

    from lipexp.data import DATASETS, status
    from lipexp.data.download import download

    names = list(dict.fromkeys(arguments.names)) or list(DATASETS)
    for name in names:
        DATASETS.entry(name)  # all names, before anything is read or fetched
    states = []
    for name in names:
        found = status(name, arguments.folder)
        if arguments.download and found.state != "whole":
            download(name, arguments.folder)
            found = status(name, arguments.folder)
        print(line(found, width=max(map(len, names))), flush=True)
        states.append(found.state)
    asked = arguments.names or arguments.download
    return 1 if asked and any(state != "whole" for state in states) else 0


def line(found: Status, width: int) -> str:
    """Name, state, training + test inputs, fingerprint, place, and what is wrong, in columns."""
    count = fingerprint = "-"
    if found.dataset is not None:
        count = " + ".join(f"{number:,}" for number in found.dataset.count)
        fingerprint = found.dataset.fingerprint
    place = f"{found.place}: {found.reason}" if found.reason else found.place
    return f"{found.name:{width}}  {found.state:14}  {count:17}  {fingerprint:16}  {place}"


def _parser() -> Parser:
    parser = Parser(
        "lipexp data",
        "Where each data set is looked for and whether it is whole: its name, what was found,\n"
        "training + test inputs, fingerprint, place. Files are compared with what was published.\n"
        "Status 1 where a named set is not whole; with --download, missing ones are fetched.",
        ["lipexp data", "lipexp data digits --folder ~/data"],
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets (default: all)")
    parser.add_argument(
        "--download", action="store_true", help="fetch those that are missing or do not match"
    )
    parser.add_argument(
        "--folder", help="the data folder (default: LIPEXP_DATA_DIR, else ~/.cache/lipexp)"
    )
    return parser
