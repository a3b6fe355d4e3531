"""What resources need of others: a virtual host's clusters, wherever they stand, and a cluster's endpoints."""

from __future__ import annotations

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterEdsClusterConfig

from model.names import VirtualHostName
from model.routing import Destination, HttpRoute, Mirror, Redirect, WeightedDestination
from model.services import Protocol
from tests.unit.translators.outbound_meshes import USERS, forward, mesh, rule, seen_from, service, virtual_service
from translators.mentions import names_needed
from translators.virtual_hosts import build_virtual_host


def test_routes_shares_and_mirrors_count_and_redirects_do_not() -> None:
    routes = virtual_service(
        HttpRoute(
            action=forward(
                WeightedDestination(destination=Destination(host=USERS, subset="v1"), weight=1),
                WeightedDestination(destination=Destination(host="other.shop.svc.cluster.local"), weight=1),
            ),
            mirrors=(Mirror(destination=Destination(host=USERS, subset="v2")),),
        ),
        HttpRoute(action=Redirect(authority="elsewhere")),
        HttpRoute(action=forward(Destination(host=USERS))),
    )
    services = [service(name, (80, Protocol.HTTP)) for name in ("users", "other")]
    view = seen_from(mesh(services, routes=[routes], rules=[rule(USERS, "v1", "v2")]))
    virtual_host = build_virtual_host(VirtualHostName(port=80, host=USERS), view)
    assert virtual_host is not None
    assert names_needed(virtual_host) == {
        f"outbound|80||{USERS}",
        f"outbound|80|v1|{USERS}",
        f"outbound|80|v2|{USERS}",
        "outbound|80||other.shop.svc.cluster.local",
    }


def test_other_messages_name_none_that_must_be_there_first() -> None:
    assert names_needed(Cluster(name="a")) == frozenset()


def test_a_cluster_needs_the_assignment_that_has_another_name() -> None:
    shared = ClusterEdsClusterConfig(service_name="outbound|80||a")
    assert names_needed(Cluster(name="a", eds_cluster_config=shared)) == {"outbound|80||a"}
    assert names_needed(Cluster(name="a", eds_cluster_config=ClusterEdsClusterConfig())) == frozenset()
