"""The two ways a call can go wrong for its user; everything else is a bug and keeps its traceback."""


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one line: what must hold, what was found (and where), what to do.
    The command line prints it and exits with status 2.
    """


class WorkError(RuntimeError):
    """The input was fine but the work could not be finished (no disk space, no worker left).

    The message is one line with a remedy. The command line prints it and exits with status 1.
    """
