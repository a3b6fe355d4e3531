"""Reading one file once, and whole: whoever is writing it is waited for."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from sources.file_scan import MAX_FILE_BYTES, stamp_of
from sources.held_file import QUIET_AT_MOST_SECONDS, HeldFile
from sources.open_files import BeingWritten, read_whole

LOOK_AGAIN_SECONDS = 0.01
"""No event tells that a file was closed."""


def read_closed_file(file: str, *, now: Callable[[], float], pause: Callable[[float], object]) -> bytes:
    """What is in `file` once no program has it open for writing; where nobody can tell that, once it is quiet.

    `now` is the wall clock in seconds, `pause` waits for as many. Raises OSError if it cannot be read, if it is still
    being written after QUIET_AT_MOST_SECONDS (errno ETXTBSY), or if it has more than MAX_FILE_BYTES (EFBIG). What is no
    regular file, as a pipe, is read to its end.
    """
    status = os.stat(file)
    if not stat.S_ISREG(status.st_mode):
        with open(file, "rb") as stream:
            return _bounded(stream.read(MAX_FILE_BYTES + 1), file)
    began = now()
    attempt = HeldFile(since=began, stamp=stamp_of(status), unchanged_since=began)
    while True:
        if attempt.stamp.size > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), file)
        try:
            return _bounded(read_whole(file, quiet=attempt.is_quiet(now())), file)
        except BeingWritten:
            if now() - began >= QUIET_AT_MOST_SECONDS:
                raise OSError(errno.ETXTBSY, "a program is writing it", file) from None
        pause(LOOK_AGAIN_SECONDS)
        attempt = attempt.again(stamp_of(os.stat(file)), now())


def _bounded(text: bytes, file: str) -> bytes:
    if len(text) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), file)
    return text
