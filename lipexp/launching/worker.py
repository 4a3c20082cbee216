"""A worker: reads lists of requests from its standard input, a JSON line each; answers in kind.

A line holds the requests' ``configs``, and whether to ``wait`` for another process that is at one.

It imports once and computes one request after the other; its own output goes to stderr.  It ends
when its input does, so that none is left when the sweep has been killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TextIO

from lipexp import collector
from lipexp.config import read
from lipexp.errors import Terminated
from lipexp.runs.outcome import Outcome


def serve(requests: TextIO, answers: TextIO) -> None:
    from lipexp.runs.execute import execute_together

    for line in collector.passing_by_what_is_loaded(requests):
        asked = json.loads(line)
        points = [read(config) for config in asked["configs"]]
        outcomes = execute_together(points, wait=asked["wait"])
        print(json.dumps([_plain(outcome) for outcome in outcomes]), file=answers, flush=True)


def _plain(outcome: Outcome) -> dict:
    return {
        "folder": None if outcome.folder is None else str(outcome.folder),
        "fresh": outcome.fresh,
        "held": outcome.held,
        "status": outcome.status,
        "line": outcome.line,
    }


def _stop(number: int, frame) -> None:
    raise Terminated


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's, which ends its workers
    signal.signal(signal.SIGTERM, _stop)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what anybody prints must not be taken for an answer
    try:
        serve(sys.stdin, answers)
    except Terminated:
        return 143
    except BrokenPipeError:  # the sweep was killed meanwhile; what it asked for is done
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())
    finally:
        collector.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
