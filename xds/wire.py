"""Between bytes and values: the requests that come in, the responses that go out.

A response is joined from bytes that every stream shares; only the nonce is a stream's own. That is sound
because protobuf fields may come in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from typing import TypeVar

from google.protobuf.message import DecodeError

from protos import discovery_pb2 as pb
from protos.scalars import varint

R = TypeVar("R")

_REMEMBERED = 1024
_SHORT_BYTES = 256
_MOST_WORDS = 8192
"""Of a rejection; Envoy's own end after 4 KiB."""
_RESOURCE = b"\x12"
"""The key of the field `resources`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Who the client says it is. `metadata` holds the entries that are strings, no others."""

    id: str
    cluster: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SotwRequest:
    """State of the world: `names` is the whole subscription. `error` is the text of a rejection, None without."""

    type_url: str
    names: tuple[str, ...] = ()
    version: str = ""
    nonce: str = ""
    error: str | None = None
    node: Node | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRequest:
    """Incremental: what is added to and taken from the subscription; `initial` is what the client holds already."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None
    node: Node | None = None


class NotARequest(ValueError):
    """The bytes are no request of the protocol."""


def _remembering(parse: Callable[[bytes], R]) -> Callable[[bytes], R]:
    """Short messages are parsed once: those by which many clients acknowledge the same response are equal."""
    parse_once = lru_cache(maxsize=_REMEMBERED)(parse)

    @wraps(parse)
    def find(raw: bytes) -> R:
        return parse_once(raw) if len(raw) <= _SHORT_BYTES else parse(raw)

    return find


def delimited(number: int, value: bytes) -> bytes:
    """A length-delimited field, for field numbers up to 15."""
    return bytes((number << 3 | 2,)) + varint(len(value)) + value


@_remembering
def parse_sotw_request(raw: bytes) -> SotwRequest:
    """Raises NotARequest if `raw` is no DiscoveryRequest."""
    message = pb.DiscoveryRequest()
    _parse(message, raw)
    return SotwRequest(
        type_url=message.type_url,
        names=tuple(message.resource_names),
        version=message.version_info,
        nonce=message.response_nonce,
        error=_error(message),
        node=_to_node(message.node) if message.HasField("node") else None,
    )


@_remembering
def parse_delta_request(raw: bytes) -> DeltaRequest:
    """Raises NotARequest if `raw` is no DeltaDiscoveryRequest."""
    message = pb.DeltaDiscoveryRequest()
    _parse(message, raw)
    return DeltaRequest(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=_error(message),
        node=_to_node(message.node) if message.HasField("node") else None,
    )


def join_sotw(*, version: str, type_url: str, packed: Iterable[bytes]) -> bytes:
    """A DiscoveryResponse with these encoded Anys, without its nonce."""
    pieces = [delimited(1, version.encode()), delimited(4, type_url.encode())]
    for one in packed:
        pieces += _RESOURCE, varint(len(one)), one
    return b"".join(pieces)


def join_delta(*, type_url: str, entries: Iterable[bytes], removed: Iterable[str]) -> bytes:
    """A DeltaDiscoveryResponse without its nonce; `entries` are pieces of encoded `resources` fields, tags and lengths
    included."""
    pieces = [delimited(4, type_url.encode())]
    pieces.extend(entries)
    pieces.extend(delimited(6, name.encode()) for name in removed)
    return b"".join(pieces)


def nonce_field(nonce: str) -> bytes:
    """The nonce of a response, of either kind, to be appended to it."""
    return delimited(5, nonce.encode())


def _parse(message: pb.DiscoveryRequest | pb.DeltaDiscoveryRequest, raw: bytes) -> None:
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise NotARequest("not a discovery request") from error


def _error(message: pb.DiscoveryRequest | pb.DeltaDiscoveryRequest) -> str | None:
    return message.error_detail.message[:_MOST_WORDS] if message.HasField("error_detail") else None


def _to_node(node: pb.Node) -> Node:
    version = node.user_agent_build_version.version
    build = f"{version.major_number}.{version.minor_number}.{version.patch}"
    strings = {key: value.string_value for key, value in node.metadata.fields.items() if value.HasField("string_value")}
    return Node(
        id=node.id,
        cluster=node.cluster,
        metadata=strings,
        user_agent=f"{node.user_agent_name} {node.user_agent_version or build}".strip(),
    )
