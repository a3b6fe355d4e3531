"""Clusters of addresses, learnt on demand: what a connection of which only the bytes are known leads to.

Every address has one. Where it is nobody's it passes, or refuses, each at once: a sidecar asks for a name once in its
life, and what it is told does not exist has later connections wait for the whole bound.
"""

from __future__ import annotations

from typing import assert_never

from envoy_data_plane.envoy.config.cluster.v3 import Cluster

from model.names import AddressCluster, OutboundCluster
from model.services import Protocol, Service
from model.settings import OutboundTraffic
from model.view import View
from translators.clusters import build_bytes_cluster, build_bytes_to, build_bytes_to_nobody
from translators.outbound_claims import pods_on


def owner_of_address(name: AddressCluster, view: View) -> Service | None:
    """The service that the caller may call at this address and port: whose virtual address it is, else the headless
    one whose pod it is."""
    host = view.host_at(name.address) or view.shared(pods_on, name.port).get(name.address)
    service = view.service(host) if host is not None else None
    port = service.port(name.port) if service is not None else None
    return service if port is not None and port.protocol is not Protocol.UDP else None


def build_address_cluster(name: AddressCluster, view: View) -> Cluster | None:
    """The cluster of an address: its service's port, as bytes; where it has none, what becomes of all such."""
    owner = owner_of_address(name, view)
    if owner is not None:
        return build_bytes_cluster(OutboundCluster(port=name.port, host=owner.host), view, called=name)
    match view.outbound_traffic:
        case OutboundTraffic.ALLOW_ANY:
            return build_bytes_to(name)
        case OutboundTraffic.REGISTRY_ONLY:
            return build_bytes_to_nobody(name)
        case _:
            assert_never(view.outbound_traffic)
