"""The one kind of error that a user is meant to read."""


class UserError(Exception):
    """The request was wrong: one line on stderr, exit status 2, nothing left on disk.

    The message says what was asked, what is allowed or nearest, and what to do; it has no final
    period, because the command line prints it behind ``lipexp: ``.
    """

    status = 2


class RunError(Exception):
    """A run that was rightly asked for broke on the way: one line, exit status 1."""

    status = 1


class Terminated(KeyboardInterrupt):
    """SIGTERM: handled as an interruption, so that nothing half-made is left; exit status 143."""
