"""The names of everything, one grammar each; what is printed parses back to the same value."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeAlias

CLUSTER_DOMAIN = "cluster.local"

PASSTHROUGH_CLUSTER = "PassthroughCluster"
BLACK_HOLE_CLUSTER = "BlackHoleCluster"
INBOUND_PASSTHROUGH_CLUSTER = "InboundPassthroughCluster"
XDS_CLUSTER = "xds-grpc"
"""Static in the bootstrap: the control plane itself. Never sent by CDS."""

OUTBOUND_LISTENER = "virtualOutbound"
INBOUND_LISTENER = "virtualInbound"

IDENTITY_SECRET = "default"
TRUST_BUNDLE_SECRET = "ROOTCA"
_KUBERNETES = "kubernetes://"


def service_host(name: str, namespace: str) -> str:
    """The fully qualified host of a Service: `NAME.NAMESPACE.svc.cluster.local`."""
    return f"{name}.{namespace}.svc.{CLUSTER_DOMAIN}"


def host_namespace(host: str) -> str:
    """The namespace in `name.NAMESPACE.svc.cluster.local`, '' for any other host."""
    match host.split("."):
        case [*_, namespace, "svc", "cluster", "local"]:
            return namespace
        case _:
            return ""


def to_fqdn(host: str, namespace: str) -> str:
    """`host` as an object in `namespace` means it, lower case, fully qualified.

    A name without a dot is a Service of that namespace; `x.ns` and `x.ns.svc` are NOT expanded (Istio does
    not either); wildcards and names with dots stay as they are.
    """
    host = host.lower()
    if "." in host or host.startswith("*"):
        return host
    return service_host(host, namespace)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class OutboundCluster:
    """`outbound|PORT|SUBSET|HOST`: the endpoints of one port of a service; `subset` '' is all of them."""

    port: int
    subset: str = ""
    host: str

    def __str__(self) -> str:
        return f"outbound|{self.port}|{self.subset}|{self.host}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class InboundCluster:
    """`inbound|PORT||`: the application behind this sidecar, at a port of the workload (not of a Service)."""

    port: int

    def __str__(self) -> str:
        return f"inbound|{self.port}||"


def parse_cluster_name(text: str) -> OutboundCluster | InboundCluster:
    """Raises ValueError if `text` is of neither form."""
    match text.split("|"):
        case ["outbound", port, subset, host] if host:
            return OutboundCluster(port=_port(port), subset=subset, host=host)
        case ["inbound", port, "", ""]:
            return InboundCluster(port=_port(port))
        case _:
            raise ValueError(f"{text!r} names no cluster")


ADDRESS_CLUSTER = "tcp|"
"""The beginning of the name of every `AddressCluster`; the rest is what Envoy prints for a destination address."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class AddressCluster:
    """`tcp|ADDRESS:PORT`, an IPv6 address in brackets: wherever bytes go that were sent to that address and port.

    `address` is in its usual form, as `ip_address` prints it.
    """

    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{ADDRESS_CLUSTER}{host}:{self.port}"


def parse_address_cluster(text: str) -> AddressCluster:
    """Raises ValueError if `text` is not of the form, or its address not in its usual one, or bound to one link."""
    host, colon, port = text.removeprefix(ADDRESS_CLUSTER).rpartition(":")
    if not text.startswith(ADDRESS_CLUSTER) or not colon or "%" in host:
        raise ValueError(f"{text!r} names no cluster of an address")
    address = ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    found = AddressCluster(address=str(address), port=_port(port))
    if str(found) != text:
        raise ValueError(f"{text!r} is not how {found} is written")
    return found


def is_address_cluster(text: str) -> bool:
    """Whether `text` is the name of a cluster of an address, well-formed or not; no other resource is called so."""
    return text.startswith(ADDRESS_CLUSTER)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class RouteTable:
    """`PORT`: the outbound HTTP routes of all services with that port, one table a port."""

    port: int

    def __str__(self) -> str:
        return str(self.port)


def parse_route_table(text: str) -> RouteTable:
    """Raises ValueError if `text` is no port number."""
    return RouteTable(port=_port(text))


CATCH_ALL_HOST = "*"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class VirtualHostName:
    """`PORT/HOST:PORT`: one virtual host of a route table, the name VHDS gives it.

    `host` is a service's host, a VirtualService's host of its own, or `*`: what no other host takes.
    """

    port: int
    host: str

    def __str__(self) -> str:
        return f"{self.port}/{self.host}:{self.port}"


def parse_virtual_host_name(text: str) -> VirtualHostName:
    """Raises ValueError if `text` is not of the form, or its two ports differ."""
    table, slash, rest = text.partition("/")
    host, colon, port = rest.rpartition(":")
    if not slash or not colon or not host or port != table:
        raise ValueError(f"{text!r} names no virtual host")
    return VirtualHostName(port=_port(port), host=host)


PLACEHOLDER_HOST = "placeholder.invalid"
"""Nobody's: `.invalid` is reserved (RFC 6761). A table learnt on demand has it from the start, so that its listener
does not wait."""


def parse_asked_host(text: str) -> tuple[RouteTable, str]:
    """What a sidecar asks for that has no virtual host for a request: `PORT/HOST`, with the Host header as the request
    has it, in lower case, perhaps with a port of its own (which a table ignores). Gives the table and the bare host.

    Raises ValueError if `text` is not of the form.
    """
    table, slash, host = text.partition("/")
    if not slash or not host:
        raise ValueError(f"{text!r} asks for no host")
    before, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (":" not in before or before.endswith("]")):
        host = before
    if not host:
        raise ValueError(f"{text!r} asks for no host")
    return parse_route_table(table), host


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class GatewayHttpTable:
    """`http.PORT`: the routes of all HTTP servers that a gateway has on one of its own ports. Istio's name."""

    port: int

    def __str__(self) -> str:
        return f"http.{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class GatewayHttpsTable:
    """`https.PORT.PORTNAME.GATEWAY.NAMESPACE`: the routes of one HTTPS server, by its port as written. Istio's name.

    Of the three names only GATEWAY may have dots.
    """

    port: int
    port_name: str
    gateway: str
    namespace: str

    def __str__(self) -> str:
        return f"https.{self.port}.{self.port_name}.{self.gateway}.{self.namespace}"


GatewayTable: TypeAlias = GatewayHttpTable | GatewayHttpsTable


def parse_gateway_table(text: str) -> GatewayTable:
    """Raises ValueError if `text` is of neither form."""
    match text.split("."):
        case ["http", port]:
            return GatewayHttpTable(port=_port(port))
        case ["https", port, port_name, *gateway, namespace] if gateway and all((port_name, *gateway, namespace)):
            return GatewayHttpsTable(
                port=_port(port), port_name=port_name, gateway=".".join(gateway), namespace=namespace
            )
        case _:
            raise ValueError(f"{text!r} names no route table of a gateway")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class GatewayVirtualHostName:
    """`TABLE/HOST:PORT`: one virtual host of a gateway's table. `host` is a domain, perhaps a wildcard, or `*`."""

    table: GatewayTable
    host: str

    def __str__(self) -> str:
        return f"{self.table}/{self.host}:{self.table.port}"


def parse_gateway_virtual_host(text: str) -> GatewayVirtualHostName:
    """Raises ValueError if `text` is not of the form, or its two ports differ."""
    table, slash, rest = text.partition("/")
    host, colon, port = rest.rpartition(":")
    parsed = parse_gateway_table(table)
    if not slash or not colon or not host or port != str(parsed.port):
        raise ValueError(f"{text!r} names no virtual host of a gateway")
    return GatewayVirtualHostName(table=parsed, host=host)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class GatewayListener:
    """`0.0.0.0_PORT`: everything that comes to one port of a gateway. Istio's name, whatever families it takes."""

    port: int

    def __str__(self) -> str:
        return f"0.0.0.0_{self.port}"


def parse_gateway_listener(text: str) -> GatewayListener:
    """Raises ValueError if `text` is not of the form."""
    address, _, port = text.partition("_")
    if address != "0.0.0.0":
        raise ValueError(f"{text!r} names no listener of a gateway")
    return GatewayListener(port=_port(port))


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CredentialSecret:
    """`kubernetes://NAME`: the Secret with a server's certificate, always of the gateway pod's own namespace."""

    name: str

    def __str__(self) -> str:
        return f"{_KUBERNETES}{self.name}"


def parse_credential_secret(text: str) -> CredentialSecret:
    """Raises ValueError if `text` is not of the form, names another namespace included."""
    name = text.removeprefix(_KUBERNETES)
    if name == text or not name or "/" in name:
        raise ValueError(f"{text!r} names no Secret of a gateway")
    return CredentialSecret(name=name)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or str(int(text)) != text or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is no port")
    return int(text)
