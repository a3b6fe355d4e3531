"""Reading a file only when nobody is writing it: half of a manifest may be a manifest too.

Linux tells who has a file open for writing by way of a read lease (fcntl(2), F_SETLEASE): it is refused while
there is a writer, and holds up a new one until it is given back. It is held for the time of one read, and costs 3 us.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal

from sources.mounts import is_shared

# Not in `fcntl` everywhere that Python runs.
_SET_LEASE = getattr(fcntl, "F_SETLEASE", None)
_SET_SIGNAL = getattr(fcntl, "F_SETSIG", None)


class BeingWritten(Exception):
    """A program has the file open for writing, or may have."""


def read_whole(path: str, *, quiet: bool) -> bytes:
    """What is in a file that nobody is writing.

    `quiet` decides where nobody can tell (the file is another user's, or other machines write to it too): whether it
    was left alone for long enough. Raises BeingWritten, or OSError if it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        if _has_writer(descriptor, quiet):
            raise BeingWritten(path)
        return file.read()


def is_written(path: str, *, quiet: bool) -> bool:
    """Whether `read_whole` would raise BeingWritten."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb"):
        return _has_writer(descriptor, quiet)


def _has_writer(descriptor: int, quiet: bool) -> bool:
    leased = None if is_shared(os.fstat(descriptor).st_dev) else _lease(descriptor)
    return not quiet if leased is None else not leased


def _lease(descriptor: int) -> bool | None:
    """Keeps writers out until the descriptor is closed. False if there is one already, None where nobody can tell."""
    if _SET_LEASE is None or _SET_SIGNAL is None:
        return None
    try:
        # Whoever opens the file meanwhile makes the kernel send a signal; the usual one would end the process.
        fcntl.fcntl(descriptor, _SET_SIGNAL, signal.SIGURG)
        fcntl.fcntl(descriptor, _SET_LEASE, fcntl.F_RDLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    return True
