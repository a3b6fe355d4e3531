"""What a response tells, and what becomes of it until it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from xds.resource import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What one response tells: resources that differ from what the client holds, and names that are gone."""

    changed: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A response that was sent and not answered yet. `version` is the response's own (state of the world).

    `doubted`, `supposed`, `owing`: what came of it when no answer came in time. It is taken back if one comes.
    """

    nonce: str
    version: str
    push: Push
    sent_at: datetime
    doubted: frozenset[str] = frozenset()
    supposed: frozenset[str] = frozenset()
    owing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The client refused this version of a resource, in these words; it keeps what it had. `needs` as of `Resource`."""

    version: str
    message: str
    needs: frozenset[str] = frozenset()
