"""Small meshes for the tests of outbound translation: a shop in its namespace, and whoever calls it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from model.asker import Asker
from model.identity import SpiffeId
from model.mesh import Mesh
from model.policies import PeerAuthentication
from model.problems import ObjectRef
from model.routing import Destination, Forward, HttpMatch, HttpRoute, VirtualService, WeightedDestination
from model.services import Endpoint, Protocol, Resolution, Service, ServicePort
from model.settings import MeshSettings
from model.traffic import DestinationRule, Subset, TrafficPolicy
from model.view import View, view_of

USERS = "users.shop.svc.cluster.local"


def service(
    name: str,
    *ports: tuple[int, Protocol],
    namespace: str = "shop",
    resolution: Resolution = Resolution.CLUSTER_IP,
    addresses: tuple[str, ...] = (),
    external_name: str = "",
) -> Service:
    """A service whose workloads listen on 1000 above each of its ports."""
    return Service(
        ref=ObjectRef(kind="Service", namespace=namespace, name=name),
        resolution=resolution,
        addresses=addresses,
        external_name=external_name,
        ports=tuple(ServicePort(number=number, protocol=protocol, target=number + 1000) for number, protocol in ports),
    )


def endpoint(
    address: str,
    *ports: int,
    account: str = "users",
    meshed: bool = True,
    ready: bool = True,
    hostname: str = "",
    **labels: str,
) -> Endpoint:
    return Endpoint(
        address=address,
        ports={port: port + 1000 for port in ports or (80,)},
        labels=labels,
        identity=SpiffeId(namespace="shop", service_account=account) if meshed else None,
        meshed=meshed,
        ready=ready,
        hostname=hostname,
    )


def rule(
    host: str = USERS, *subsets: str, policy: TrafficPolicy | None = None, namespace: str = "shop"
) -> DestinationRule:
    """A DestinationRule whose subsets select the label `version`."""
    return DestinationRule(
        ref=ObjectRef(kind="DestinationRule", namespace=namespace, name="rule"),
        host=host,
        policy=policy or TrafficPolicy(),
        subsets=tuple(Subset(name=name, labels={"version": name}) for name in subsets),
    )


def virtual_service(
    *http: HttpRoute, hosts: tuple[str, ...] = (USERS,), namespace: str = "shop", name: str = "routes"
) -> VirtualService:
    return VirtualService(ref=ObjectRef(kind="VirtualService", namespace=namespace, name=name), hosts=hosts, http=http)


def forward(*destinations: Destination | WeightedDestination) -> Forward:
    return Forward(
        destinations=tuple(
            each if isinstance(each, WeightedDestination) else WeightedDestination(destination=each)
            for each in destinations
        )
    )


def to_users(*matches: HttpMatch, name: str = "", subset: str = "") -> HttpRoute:
    return HttpRoute(name=name, matches=matches, action=forward(Destination(host=USERS, subset=subset)))


def mesh(
    services: Iterable[Service] = (),
    *,
    endpoints: Mapping[str, tuple[Endpoint, ...]] | None = None,
    rules: Iterable[DestinationRule] = (),
    routes: Iterable[VirtualService] = (),
    peers: Iterable[PeerAuthentication] = (),
    settings: MeshSettings | None = None,
) -> Mesh:
    """A snapshot, indexed as the assembler does it."""
    by_host = {each.host: each for each in sorted(services, key=lambda each: each.host)}
    on_port: dict[int, list[str]] = {}
    for each in by_host.values():
        for port in each.ports:
            if port.protocol is not Protocol.UDP:
                on_port.setdefault(port.number, []).append(each.host)
    known = endpoints or {}
    by_route_host: dict[str, tuple[VirtualService, ...]] = {}
    for each_route in routes:
        for host in each_route.hosts:
            by_route_host[host] = (*by_route_host.get(host, ()), each_route)
    by_namespace: dict[str, tuple[PeerAuthentication, ...]] = {}
    for peer in peers:
        by_namespace[peer.ref.namespace] = (*by_namespace.get(peer.ref.namespace, ()), peer)
    return Mesh(
        settings=settings or MeshSettings(),
        services=by_host,
        endpoints=known,
        identities={
            host: frozenset(each.identity for each in found if each.identity is not None)
            for host, found in known.items()
        },
        uncaptured_ports={
            host: ports
            for host, found in known.items()
            if (ports := frozenset[int]().union(*(e.uncaptured for e in found)))
        },
        hosts_on_port={port: tuple(on_port[port]) for port in sorted(on_port)},
        virtual_services=dict(sorted(by_route_host.items())),
        destination_rules={each.host: (each,) for each in rules},
        peer_authentications=by_namespace,
    )


def caller(namespace: str = "shop", *, vhds: bool = False, on_demand: bool = False, **labels: str) -> Asker:
    """A pod of that namespace, with those labels, as it asks."""
    return Asker(
        namespace=namespace,
        pod="caller",
        service_account="caller",
        labels=labels,
        vhds=vhds or on_demand,
        on_demand=on_demand,
    )


def seen_from(
    snapshot: Mesh, namespace: str = "shop", *, vhds: bool = False, on_demand: bool = False, **labels: str
) -> View:
    """The mesh as a pod of that namespace, with those labels, sees it."""
    return view_of(snapshot, caller(namespace, vhds=vhds, on_demand=on_demand, **labels))
