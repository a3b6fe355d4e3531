"""Clusters that clients refused when their streams ended, for when they come back.

Envoy 1.40 keeps of some of them what it was sent: on its next stream it takes the very same for known, and says that it
has it. So it is not sent again, and is reported for as long as it lasts. Another replica, and a restarted one, does not
know of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

from model.asker import Asker
from xds.push import Refusal

MAX_REFUSALS = 20_000
"""Of all clients together; beyond it the oldest go."""
_Key: TypeAlias = tuple[str, str]


class RefusedClusters:
    """By pod."""

    __slots__ = ("_limit", "_refused", "_size")

    def __init__(self, limit: int = MAX_REFUSALS) -> None:
        self._limit = limit
        self._size = 0
        self._refused: OrderedDict[_Key, tuple[datetime, Mapping[str, Refusal]]] = OrderedDict()

    def keep(self, asker: Asker, refused: Mapping[str, Refusal], since: datetime) -> None:
        """The asker's stream has ended that began then, and it refused these. A newer one may have ended before."""
        key = (asker.namespace, asker.pod)
        if key in self._refused and self._refused[key][0] > since:
            return
        self._forget(key)
        if refused:
            self._refused[key] = (since, refused)
            self._size += len(refused)
        while self._size > self._limit:
            self._forget(next(iter(self._refused)))

    def take(self, asker: Asker) -> Mapping[str, Refusal]:
        """They are not kept any more."""
        return self._forget((asker.namespace, asker.pod))

    def _forget(self, key: _Key) -> Mapping[str, Refusal]:
        if key not in self._refused:
            return {}
        _, found = self._refused.pop(key)
        self._size -= len(found)
        return found
