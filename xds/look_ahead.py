"""What one stream is going to send, looked up a little at a time, so that others have their turn in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from xds.channel import Channel
from xds.kinds import Kind
from xds.memo import Found

LOOKS_AT_ONCE = 100
"""Names that one stream has looked up before others have their turn: 5 to 15 ms where none of them is known."""


class LookAhead:
    """Looks up the names that channels have to send, for the memo to know when they are sent."""

    __slots__ = ("_again", "_at_once", "_channels", "_looks", "_mark")

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._channels: Sequence[Channel] = ()
        self._looks: Iterator[Found] | None = None
        self._again = False
        """The mesh has changed while it looked the names up for the first time."""
        self._mark = (0, 0)
        """The memo's snapshot and how many names there were to look up, as it began."""

    @property
    def under_way(self) -> bool:
        """Whether it has begun and not ended."""
        return self._looks is not None

    def begin(
        self, channels: Sequence[Channel], finder: Callable[[Kind], Callable[[str], Found]], snapshot: int
    ) -> None:
        """Is going to look up what these channels have to send now."""
        self._channels = channels
        self._looks = self._look_up(finder)
        self._mark = (snapshot, self._backlog())

    def go_on(self, snapshot: int) -> bool:
        """Looks some up. Whether there is more: names that are left, or all of them again, since there are many more
        than when it began, or the mesh has changed meanwhile. For that it begins anew once: in a mesh that changes all
        the time there would be no end to it, and what has changed since the second time is not much.
        """
        assert self._looks is not None
        if sum(1 for _ in islice(self._looks, self._at_once)) == self._at_once:
            return True
        self._looks = None
        before, backlog = self._mark
        if self._backlog() > backlog + self._at_once:
            return True
        self._again = not self._again and snapshot != before
        return self._again

    def _look_up(self, finder: Callable[[Kind], Callable[[str], Found]]) -> Iterator[Found]:
        for one in self._channels:
            find = finder(one.kind)
            yield from map(find, one.upcoming())

    def _backlog(self) -> int:
        return sum(one.backlog for one in self._channels)
