"""Who may open a stream, and as whom it is answered: decided by whoever composes the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from model.asker import Asker
from xds.stream_secrets import StreamSecrets
from xds.wire import Node

C = TypeVar("C")


class Unauthenticated(Exception):
    """The caller did not prove who it is. The text is sent to it."""


class Unavailable(Exception):
    """Who the caller is cannot be told at present: it is to come again. The text is sent to it."""


class Exhausted(Exception):
    """The caller is known, and asks for too much: it is to come again later. The text is sent to it."""


class PermissionDenied(Exception):
    """The caller is known, but may not be answered as the node it says it is. The text is sent to it."""


class Admission(Protocol[C]):
    """`C` is whatever a credential proves; it is handed back unseen."""

    async def authenticate(self, metadata: Mapping[str, str], peer: str) -> C:
        """Who calls, before anything is read. `metadata`: gRPC's, keys in lower case.

        Raises Unauthenticated, or Unavailable if that cannot be told at present.
        """

    def admit(self, caller: C, node: Node) -> Asker:
        """Whom this caller is answered as, if it may call itself this node.

        Raises PermissionDenied, or Unauthenticated if the caller is nobody any more.
        """

    def asker_of(self, caller: C, node: Node) -> Asker | None:
        """Whom it is answered as in the snapshot about to be published; None leaves it as it is."""

    def secrets_for(self, caller: C, peer: str) -> StreamSecrets:
        """The secrets of a new stream of this caller, from that address. Raises Exhausted if it opened too many."""
