"""What a stream was sent, and what became of it: plain values, for `heddle status` and `heddle config`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from model.asker import Asker
from xds.resource import Resource
from xds.wire import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedResource:
    """A resource the client refused, and its reason. It keeps what it had of that name, if anything.

    `needs`: what the refused version names, as of `Resource`.
    """

    name: str
    version: str
    message: str
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeState:
    """One type on one stream.

    `acknowledged`: what the client holds, by name; without bodies for secrets. `pending`: name to version of what
    was sent and not answered yet, '' for a removal. `rejection`: the client's last words on a rejection, '' if none.
    """

    type_url: str
    wildcard: bool
    names: tuple[str, ...]
    acknowledged: tuple[Resource, ...]
    pending: tuple[tuple[str, str], ...]
    pending_nonce: str
    rejected: tuple[RejectedResource, ...]
    rejection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """One stream. `acknowledged_generation` is the newest snapshot of which the client needs nothing more; a
    rejected resource counts as done with, and is in `rejected` of its type. -1: none yet."""

    id: str
    node: Node
    asker: Asker
    delta: bool
    opened_at: datetime
    generation: int
    acknowledged_generation: int
    types: tuple[TypeState, ...]

    def acknowledged(self, generation: int) -> bool:
        """Whether the client needs nothing more of this snapshot, or a newer one."""
        return self.acknowledged_generation >= generation

    @property
    def rejected(self) -> tuple[tuple[str, RejectedResource], ...]:
        """(type URL, resource) of everything the client refuses at present."""
        return tuple((one.type_url, resource) for one in self.types for resource in one.rejected)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamProgress:
    """As much of a stream as says whether the client has what it needs. `acknowledged_generation` as in `StreamState`;
    `rejected` are (type URL, resource)."""

    asker: Asker
    acknowledged_generation: int
    rejected: tuple[tuple[str, RejectedResource], ...]
