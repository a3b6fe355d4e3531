"""Which streams a change may concern, so that it visits those and not all that there are."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from xds.in_common import in_common
from xds.memo import Marks

Reads: TypeAlias = tuple[str, frozenset[str]]
"""A type URL and names of it that a stream reads; `ASKED` in place of the type: names that its client asked for."""

ASKED = ""
MOST_AT_ONCE = 2_000
"""A stream that reads a larger set is visited with every change: of such a mesh most concern it, and a set that grows
by one name is noted anew as a whole (0.3 us a name)."""
MOST_IN_ALL = 300_000
"""So many names are noted, 300 bytes each at worst. Sidecars that are alike share theirs."""


class Readers:
    """The streams of one server. Those that rest, their clients having everything and having said so, are noted with
    what they read; the others are visited with every change.

    What a stream reads may change while it is busy, never while it rests.
    """

    __slots__ = ("_busy", "_by_name", "_noted", "_reads", "_streams", "generation")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        """The newest snapshot that every stream was told of, if it concerns it."""
        self._busy: dict[str, None] = {}
        self._reads: dict[str, dict[Reads, None]] = {}
        """As they were noted, by stream: a busy stream stays noted with what it read when it last rested."""
        self._streams: dict[Reads, set[str]] = {}
        self._by_name: dict[str, dict[str, set[Reads]]] = {}
        self._noted = 0
        """How many names there are in all the sets."""

    def stirs(self, stream: str) -> None:
        """From now on it is visited with every change."""
        self._busy[stream] = None

    def busy(self) -> tuple[str, ...]:
        """Those that do not rest, or read too much."""
        return tuple(self._busy)

    def rests(self, stream: str, reads: Collection[Reads] | None) -> bool:
        """Until it is busy again only changes of what it reads concern it. None: it reads what was noted before.
        False: that is too much to be noted; it counts as busy."""
        if reads is not None:
            if any(len(names) > MOST_AT_ONCE for _, names in reads) or not self._has_room(reads):
                self._withdraw(stream)
                return False
            before, after = self._reads.get(stream, {}), dict.fromkeys(reads)
            self._reads[stream] = after
            for one in after.keys() - before.keys():
                self._enter(stream, one)
            for one in before.keys() - after.keys():
                self._leave(stream, one)
        self._busy.pop(stream, None)
        return True

    def forget(self, stream: str) -> None:
        """It has ended."""
        self._busy.pop(stream, None)
        self._withdraw(stream)

    def concerned(self, marks: Marks) -> list[str]:
        """The streams to be visited."""
        if marks.everything or marks.scopes:
            return list({**self._busy, **dict.fromkeys(self._reads)})
        found: set[Reads] = set()
        for type_url, names in (*marks.names.items(), (ASKED, marks.asked)):
            readers = self._by_name.get(type_url, {})
            for name in in_common(names, readers):
                found |= readers[name]
        streams = dict(self._busy)
        for one in found:
            streams.update(dict.fromkeys(self._streams[one]))
        return list(streams)

    def _has_room(self, reads: Collection[Reads]) -> bool:
        return self._noted + sum(len(one[1]) for one in reads if one not in self._streams) <= MOST_IN_ALL

    def _withdraw(self, stream: str) -> None:
        for one in self._reads.pop(stream, ()):
            self._leave(stream, one)

    def _enter(self, stream: str, reads: Reads) -> None:
        if (streams := self._streams.get(reads)) is not None:
            streams.add(stream)
            return
        self._streams[reads] = {stream}
        type_url, names = reads
        self._noted += len(names)
        readers = self._by_name.setdefault(type_url, {})
        for name in names:
            if (sets := readers.get(name)) is None:
                readers[name] = {reads}
            else:
                sets.add(reads)

    def _leave(self, stream: str, reads: Reads) -> None:
        streams = self._streams[reads]
        streams.discard(stream)
        if streams:
            return
        del self._streams[reads]
        type_url, names = reads
        self._noted -= len(names)
        readers = self._by_name[type_url]
        for name in names:
            sets = readers[name]
            sets.discard(reads)
            if not sets:
                del readers[name]
