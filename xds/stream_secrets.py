"""What a stream needs of its secrets, whoever makes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from protos.type_urls import SECRET
from xds.memo import ABSENT, Found
from xds.resource import build_resource

RETRY_AFTER = timedelta(seconds=5)
"""How long after a renewal that failed the next one is tried."""


class Issued(Protocol):
    """A secret: `body` is the encoded message, `renew_at` None if it has no end of its own."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def renew_at(self) -> datetime | None: ...


class StreamSecrets(Protocol):
    """The secrets of one stream. Both methods may raise, which leaves the client with what it has."""

    def secret(self, name: str, now: datetime) -> Issued | None:
        """The secret of that name, None if there is none. The same again until it is renewed."""

    def renew(self, now: datetime) -> Issued:
        """Replaces the secret that is due."""


class NoSecrets:
    """For streams that are given none."""

    def secret(self, name: str, now: datetime) -> Issued | None:
        """None, whatever the name."""
        return None

    def renew(self, now: datetime) -> Issued:
        """Raises LookupError: nothing is ever due."""
        raise LookupError("no secrets are issued on this stream")


class SecretShelf:
    """The secrets that were sent on a stream, and when each is to be renewed."""

    __slots__ = ("_due", "_secrets", "_versions")

    def __init__(self, secrets: StreamSecrets) -> None:
        self._secrets = secrets
        self._versions: dict[str, str] = {}
        self._due: dict[str, datetime] = {}

    @property
    def due(self) -> Mapping[str, datetime]:
        """When each secret that ends is to be renewed."""
        return self._due

    def find(self, name: str, now: datetime) -> Found:
        """The secret as a resource. Raises what its maker raises."""
        issued = self._secrets.secret(name, now)
        if issued is None:
            return ABSENT
        if self._versions.get(name) != issued.version:
            self._versions[name] = issued.version
            self._due.pop(name, None)
            if issued.renew_at is not None:
                self._due[name] = issued.renew_at
        return Found(resource=build_resource(SECRET, name, issued.body, version=issued.version))

    def renew(self, name: str, now: datetime) -> None:
        """Replaces a secret that is due. Raises what its maker raises, after putting it off."""
        self._due[name] = now + RETRY_AFTER
        self._secrets.renew(now)

    def forget(self, name: str) -> None:
        """Nobody wants it any more."""
        self._due.pop(name, None)
        self._versions.pop(name, None)
