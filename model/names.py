"""The names of everything, one grammar each; what is printed parses back to the same value."""

from __future__ import annotations

from dataclasses import dataclass

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


def service_host(name: str, namespace: str) -> str:
    """The fully qualified host of a Service: `NAME.NAMESPACE.svc.cluster.local`."""
    return f"{name}.{namespace}.svc.{CLUSTER_DOMAIN}"


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


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or str(int(text)) != text or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is no port")
    return int(text)
