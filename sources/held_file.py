"""How long a file that someone may be writing is held back."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sources.file_scan import Stamp

QUIET_SECONDS = 0.1
"""How long a file must stay as it is where nobody can tell whether it is open: longer than the pauses of programs
that write without waiting for anybody, too short to be noticed by who saved a file."""
QUIET_AT_MOST_SECONDS = 5.0
"""After how long such a file is read although it never was quiet: a log that calls itself a manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFile:
    """A file that is not read yet.

    `since` it is held back and `unchanged_since` it has its stamp, both in seconds of the wall clock.
    """

    since: float
    stamp: Stamp
    unchanged_since: float

    def again(self, stamp: Stamp, now: float) -> HeldFile:
        """The same file, looked at once more."""
        return self if stamp == self.stamp else replace(self, stamp=stamp, unchanged_since=now)

    def is_quiet(self, now: float) -> bool:
        """Whether it was left alone for long enough to be taken for complete.

        Its own time may say so at once; that of another machine, or of an archive, may lie ahead of ours for ever.
        """
        return (
            now - self.stamp.modified_ns / 1e9 >= QUIET_SECONDS
            or now - self.unchanged_since >= QUIET_SECONDS
            or now - self.since >= QUIET_AT_MOST_SECONDS
        )
