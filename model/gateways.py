"""Where requests enter the mesh: the Gateway kind, and the certificates its servers show.

Source of every field: Istio Gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from model.problems import ObjectRef


class ServerProtocol(StrEnum):
    """What is spoken on a server's port. HTTP covers HTTP2, GRPC and GRPC-Web: which one is seen by Envoy itself."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"


class TlsVersion(StrEnum):
    """Istio's words for the versions of TLS."""

    TLS_AUTO = "TLS_AUTO"
    TLSV1_0 = "TLSV1_0"
    TLSV1_1 = "TLSV1_1"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ServerHost:
    """One entry of `hosts`: `host` in lower case, perhaps a wildcard; `namespace` is whose VirtualServices may use it.

    `namespace` '*' is everybody's (`host` or `*/host`), else one name (`ns/host`, and `./host` for the Gateway's own).
    """

    host: str
    namespace: str = "*"

    def admits(self, owner: str) -> bool:
        """Whether a VirtualService of the namespace `owner` may use it."""
        return self.namespace in ("*", owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """TLS that the gateway ends. `credential` is the name of a Secret in the namespace of the gateway's pod."""

    credential: str
    minimum: TlsVersion = TlsVersion.TLS_AUTO
    maximum: TlsVersion = TlsVersion.TLS_AUTO
    cipher_suites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One entry of `servers`; `index` is its place there. `https_redirect` only for HTTP.

    `tls` None for HTTPS: it wants what is not implemented, so that its hosts are refused; nobody else gets them.
    `port_name` is unique within its Gateway, and has no dot.
    """

    index: int
    port: int
    protocol: ServerProtocol
    port_name: str
    hosts: tuple[ServerHost, ...]
    tls: ServerTls | None = None
    https_redirect: bool = False

    @property
    def needs_tls(self) -> bool:
        """Whether nobody is served without TLS."""
        return self.protocol is ServerProtocol.HTTPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """`selector` chooses gateway pods, in every namespace; an empty one all. `created` as with VirtualService.

    A server that would listen in a way that is not implemented (TCP, `bind`) is left out; `unserved` are its hosts.
    """

    ref: ObjectRef
    selector: Mapping[str, str]
    servers: tuple[Server, ...] = ()
    unserved: tuple[ServerHost, ...] = ()
    created: datetime | None = None

    @property
    def name(self) -> str:
        """As VirtualServices name it: `NAMESPACE/NAME`."""
        return f"{self.ref.namespace}/{self.ref.name}"

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a gateway pod with these labels serves it."""
        return self.selector.items() <= labels.items()


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A certificate chain (PEM, the leaf first) and the private key that fits it. Neither the key nor this is printed.

    `serial` and `subject` are the leaf's, as OpenSSL writes them.
    """

    certificate_chain: bytes = field(repr=False)
    private_key: bytes = field(repr=False)
    serial: str
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenCredential:
    """A Secret that a server names and that cannot be used; `reason` says why, and nothing of what is in it."""

    reason: str
