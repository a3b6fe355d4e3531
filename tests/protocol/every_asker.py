"""Askers of every kind, and what those ask for who are not told what there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from model.asker import Asker, Capture
from model.names import AddressCluster
from model.pods import ProxyKind
from model.services import Locality
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE
from xds.read_memo import KnownAsker

_OF_THEIR_POD: Mapping[str, Asker] = {
    "a/m": Asker(
        namespace="a",
        pod="m",
        service_account="s",
        labels={"app": "web", "version": "v1"},
        address="10.3.0.1",
        application_address="127.0.0.9",
    ),
    "b/n": Asker(namespace="b", pod="n", service_account="t", labels={"app": "job"}, address="10.3.1.2"),
    "c/m": Asker(namespace="c", pod="m", service_account="s", labels={"app": "web"}, address="10.3.2.1"),
    "a/g": Asker(
        namespace="a",
        pod="g",
        service_account="default",
        kind=ProxyKind.GATEWAY,
        labels={"app": "gw"},
        address="10.3.0.9",
    ),
}
"""As the histories of `changing_mesh` have their pods."""


def askers() -> list[KnownAsker]:
    web, job, third, gateway = _OF_THEIR_POD.values()
    near = Locality(region="r1", zone="z1")
    return [
        KnownAsker(each)
        for each in (
            web,
            job,
            replace(web, vhds=False),
            replace(web, on_demand=True),
            replace(job, on_demand=True, ipv6=False),
            replace(web, capture=Capture.EXPLICIT),
            replace(third, capture=Capture.EXPLICIT, vhds=False, locality=near),
            gateway,
            replace(gateway, capture=Capture.EXPLICIT, vhds=False),
            replace(web, kind=ProxyKind.PROXYLESS, vhds=False),
            replace(third, kind=ProxyKind.PROXYLESS, vhds=False, certificates=True),
        )
    ]


ADDRESSES = tuple(
    str(AddressCluster(address=address, port=port))
    for port in (80, 81)
    for address in ("10.2.0.1", "10.3.0.1", "10.1.0.1", "10.1.1.2", "10.1.7.7", "10.99.0.1")
)
"""What sidecars on demand may ask for, in scope or not."""
ASKED = tuple(
    f"{port}/{host}"
    for port in (80, 81)
    for host in (
        "x.a",
        "x.a.svc.cluster.local",
        "y.b:80",
        "10.1.1.2",
        "10.1.7.7",
        "foreign.example.com",
        "v.example.com",
        "nobody",
    )
)
"""Hosts that they may ask for, whoever has them."""
_TARGETS = ("x.a:80", "y.b.svc.cluster.local:80", "y:80", "10.1.7.7:80", "z.c:81")
_CLUSTERS = tuple(
    f"outbound|{port}|{subset}|{name}.svc.cluster.local"
    for port in (80, 81)
    for subset in ("", "v1")
    for name in ("x.a", "y.b", "z.c")
)
_NAMED: Mapping[str, tuple[str, ...]] = {LISTENER: _TARGETS, ROUTE: _TARGETS, CLUSTER: _CLUSTERS, ENDPOINT: _CLUSTERS}
"""What gRPC clients ask for, whether there is such a thing or not."""


def named_by(asker: Asker, type_url: str) -> tuple[str, ...]:
    """The names that this asker asks for beside those in its scope."""
    if asker.kind is ProxyKind.PROXYLESS:
        return _NAMED.get(type_url, ())
    return ADDRESSES if asker.on_demand and type_url == CLUSTER else ()
