"""A resource as it is sent: encoded once, the same bytes for every stream."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from hashlib import blake2b

from xds.wire import delimited

_VERSION_BYTES = 8
_RESOURCES_FIELD = 2
_NOTHING = memoryview(b"")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resource:
    """One named resource at one version. Two with equal versions are equal on the wire.

    `packed` is the encoded google.protobuf.Any; empty for a virtual host that does not exist, which is sent
    as its name and alias alone. `head` and `tail` are what surrounds it in an incremental response. Bodies
    may hold keys, so that none is ever printed. `needs`: the clusters that a virtual host sends requests to; the
    assignment of a cluster where that has another name.
    """

    name: str
    version: str
    packed: bytes = field(repr=False)
    body: memoryview = field(repr=False)
    head: bytes = field(repr=False)
    tail: bytes = field(repr=False)
    aliases: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()

    @property
    def foreign(self) -> bool:
        """Held by the client from an earlier stream; only the version is known."""
        return not self.packed and not self.aliases

    @property
    def missing(self) -> bool:
        """Says that there is no such resource."""
        return bool(self.aliases) and not self.packed

    def without_body(self) -> Resource:
        """The same, fit to be shown where the body is a secret."""
        return build_foreign(self.name, self.version)


def content_version(body: bytes) -> str:
    """A short hash: two replicas, or a restarted one, give equal content equal versions."""
    return blake2b(body, digest_size=_VERSION_BYTES).hexdigest()


def build_resource(
    type_url: str, name: str, body: bytes, *, version: str | None = None, needs: frozenset[str] = frozenset()
) -> Resource:
    """The resource whose encoded message is `body`. The version is the content's hash unless one is given."""
    kind = delimited(1, type_url.encode())
    packed = kind + delimited(2, body)
    return _assemble(name, version or content_version(body), packed, len(body), needs=needs)


def build_missing(name: str) -> Resource:
    """What tells a client that `name` does not exist where only an answer under that name ends its wait:
    the name, itself as alias, no body (virtual hosts; other types say it by `removed_resources`).

    Its version is never the same again: Envoy may still know that of the answer before, to a route table that is gone,
    and takes what has that version and no body for a sign of life, which ends nobody's wait.
    """
    return _assemble(name, secrets.token_hex(_VERSION_BYTES), b"", 0, aliases=(name,))


def build_foreign(name: str, version: str) -> Resource:
    """A resource that the client holds from an earlier stream: only its version is known, and it is never sent."""
    return Resource(name=name, version=version, packed=b"", body=_NOTHING, head=b"", tail=b"")


def _assemble(
    name: str,
    version: str,
    packed: bytes,
    body_length: int,
    *,
    aliases: tuple[str, ...] = (),
    needs: frozenset[str] = frozenset(),
) -> Resource:
    before = (delimited(1, version.encode()) if version else b"") + (delimited(2, packed) if packed else b"")
    tail = delimited(3, name.encode()) + b"".join(delimited(4, alias.encode()) for alias in aliases)
    entry = delimited(_RESOURCES_FIELD, before + tail)
    head = entry[: len(entry) - len(packed) - len(tail)]
    body = memoryview(packed)[len(packed) - body_length :]
    return Resource(
        name=name, version=version, packed=packed, body=body, head=head, tail=tail, aliases=aliases, needs=needs
    )
