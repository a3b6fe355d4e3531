"""Services, their ports, and the endpoints behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from model.identity import SpiffeId
from model.names import service_host
from model.problems import ObjectRef


class Protocol(StrEnum):
    """What is spoken on a port. DETECT: neither `appProtocol` nor the port's name says it.

    TLS is opaque here: the application's own. HTTP2 covers gRPC and gRPC-Web.
    """

    HTTP = "http"
    HTTP2 = "http2"
    TCP = "tcp"
    TLS = "tls"
    DETECT = "detect"
    UDP = "udp"

    @property
    def is_http(self) -> bool:
        return self in (Protocol.HTTP, Protocol.HTTP2)


class Resolution(StrEnum):
    """Where a service's addresses come from. HEADLESS has endpoints and no address of its own;
    EXTERNAL_NAME is another name for a DNS name."""

    CLUSTER_IP = "cluster-ip"
    HEADLESS = "headless"
    EXTERNAL_NAME = "external-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One port. `target` is the workload's port: a number, or the name of a container port."""

    number: int
    name: str = ""
    protocol: Protocol
    target: int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Kubernetes Service. `addresses` are its virtual addresses (v4 and v6), empty unless CLUSTER_IP.

    `selector` empty: the endpoints come from EndpointSlices only. `external_name` only for EXTERNAL_NAME.
    """

    ref: ObjectRef
    resolution: Resolution = Resolution.CLUSTER_IP
    addresses: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    external_name: str = ""
    publish_not_ready: bool = False

    @property
    def host(self) -> str:
        """The fully qualified host: `NAME.NAMESPACE.svc.cluster.local`."""
        return service_host(self.ref.name, self.ref.namespace)

    def port(self, number: int) -> ServicePort | None:
        """The port with that number, or None."""
        return next((port for port in self.ports if port.number == number), None)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Locality:
    """`region/zone/subzone`, outer to inner; an empty part is unknown. Source: label `istio-locality`."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One workload address behind a service.

    `ports` maps the Service's port number to the workload's port. `identity` is None outside the mesh;
    `meshed` says that a sidecar answers there, so mutual TLS may be spoken to it. `hostname` is set for pods of a
    headless service that have a name of their own (`web-0`), else ''. `draining`: it ends, and still serves.
    `uncaptured` are the Service ports that lead past its sidecar, to the application itself.
    """

    address: str
    ports: Mapping[int, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    identity: SpiffeId | None = None
    meshed: bool = False
    locality: Locality = field(default_factory=Locality)
    hostname: str = ""
    ready: bool = True
    draining: bool = False
    uncaptured: frozenset[int] = frozenset()


def in_service(endpoints: Iterable[Endpoint], port: int) -> tuple[Endpoint, ...]:
    """Those with that Service port which may be called: the ready ones; only if none is, those that are draining.

    Source: what kube-proxy does for a port of a Service (KEP-1669).
    """
    there = tuple(endpoint for endpoint in endpoints if port in endpoint.ports)
    ready = tuple(endpoint for endpoint in there if endpoint.ready)
    return ready or tuple(endpoint for endpoint in there if endpoint.draining)
