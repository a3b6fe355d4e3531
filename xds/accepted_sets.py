"""What state-of-the-world clients held when their streams ended, for when they come back.

Such a client says of what it holds only the version of the whole. Who knows the set behind it can tell it of a change
though one resource is refused; who does not has to send all or nothing. Another replica, and a restarted one, does not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import TypeAlias

from model.asker import Asker
from xds.resource import Resource
from xds.sotw import version_of

MAX_RESOURCES = 200_000
"""In all sets together, a set counting as one more; beyond it the oldest sets go."""
_Key: TypeAlias = tuple[str, str, str]


class AcceptedSets:
    """A client's own set alone is given back to it: a version that it makes up leads nowhere."""

    __slots__ = ("_limit", "_sets", "_size")

    def __init__(self, limit: int = MAX_RESOURCES) -> None:
        self._limit = limit
        self._size = 0
        self._sets: OrderedDict[_Key, tuple[datetime, tuple[Resource, ...]]] = OrderedDict()

    def keep(self, asker: Asker, type_url: str, resources: Iterable[Resource], since: datetime) -> None:
        """The asker's stream has ended that began then, and this is all it accepted of a type. A newer stream may have
        ended before."""
        key = (asker.namespace, asker.pod, type_url)
        if key in self._sets and self._sets[key][0] > since:
            return
        self._forget(key)
        kept = tuple(resources)
        self._sets[key] = (since, kept)
        self._size += 1 + len(kept)
        while self._size > self._limit:
            self._forget(next(iter(self._sets)))

    def take(self, asker: Asker, type_url: str, version: str) -> tuple[Resource, ...] | None:
        """The set, which may be empty, if it is the one of this version; else None. It is not kept any more."""
        key = (asker.namespace, asker.pod, type_url)
        resources = self._forget(key)
        return resources if resources is not None and version_of(resources) == version else None

    def _forget(self, key: _Key) -> tuple[Resource, ...] | None:
        if key not in self._sets:
            return None
        _, resources = self._sets.pop(key)
        self._size -= 1 + len(resources)
        return resources
