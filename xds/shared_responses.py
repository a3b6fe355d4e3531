"""Responses, made once: every stream that is sent the same is handed the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from xds.resource import Resource
from xds.wire import nonce_field

RECENT = 16
"""So many are kept. Streams that are sent the same are mostly sent it one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An encoded response. `version` is that of the whole (state of the world).

    `number` says which of all that are shared it is, later ones having higher numbers, and `nonce`, which is in `raw`,
    is made of it. 0: it is not shared, and has no nonce yet.
    """

    version: str
    raw: bytes = field(repr=False)
    number: int = 0
    nonce: str = ""

    def with_nonce(self, nonce: str) -> bytes:
        """The bytes with another nonce."""
        own = len(nonce_field(self.nonce)) if self.nonce else 0
        return self.raw[: len(self.raw) - own] + nonce_field(nonce)


class SharedResponses:
    """The responses that were made last, by what is in them."""

    __slots__ = ("_count", "_made")

    def __init__(self) -> None:
        self._count = 0
        self._made: dict[Hashable, Response] = {}

    def get(self, content: tuple[str, bool, tuple[Resource, ...]], make: Callable[[], Response]) -> Response:
        """The response with this content (type URL, whether incremental, resources); made if it is not there."""
        found = self._made.pop(content, None)
        if found is None:
            found = self._numbered(make())
            if len(self._made) >= RECENT:
                del self._made[next(iter(self._made))]
        self._made[content] = found
        return found

    def _numbered(self, response: Response) -> Response:
        self._count += 1
        nonce = f"shared-{self._count}"
        return Response(version=response.version, raw=response.with_nonce(nonce), number=self._count, nonce=nonce)
