"""What one stream is going to send, looked up a little at a time, so that others have their turn in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from xds.channel import Channel
from xds.kinds import Kind
from xds.memo import ABSENT, Found
from xds.violation import check_absent

LOOKS_AT_ONCE = 100
"""Names that one stream has looked up before others have their turn: 5 to 15 ms where none of them is known."""


class LookAhead:
    """Looks up the names that channels have to send, for the memo to know when they are sent."""

    __slots__ = ("_absent", "_at_once", "_channels", "_looks", "_mark")

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._channels: Sequence[Channel] = ()
        self._looks: Iterator[Found] | None = None
        self._absent = 0
        """How many names led to nothing since it began."""
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
        self._absent = 0
        self._looks = self._look_up(finder)
        self._mark = (snapshot, self._backlog())

    def go_on(self, snapshot: int) -> bool:
        """Looks some up. Whether there is more: names that are left, or all of them again, since the mesh has changed
        or the client asked for others meanwhile. What is known already takes next to no time.

        Raises Violation if too many of them lead to nothing.
        """
        assert self._looks is not None
        if sum(1 for _ in islice(self._looks, self._at_once)) == self._at_once:
            check_absent(self._absent)
            return True
        self._looks = None
        return self._mark != (snapshot, self._backlog())

    def _look_up(self, finder: Callable[[Kind], Callable[[str], Found]]) -> Iterator[Found]:
        for one in self._channels:
            find = finder(one.kind)
            for name in one.upcoming():
                found = find(name)
                self._absent += found is ABSENT and one.is_strange(name)
                yield found

    def _backlog(self) -> int:
        return sum(one.backlog for one in self._channels)
