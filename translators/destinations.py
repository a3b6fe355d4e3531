"""From a route's destination to the cluster that carries it, and what that cluster wants of the route."""

from __future__ import annotations

from model.names import OutboundCluster
from model.routing import Destination
from model.traffic import ConsistentHash, HashKey, policy_for
from model.view import View


def to_cluster(destination: Destination, port: int, view: View) -> OutboundCluster:
    """The cluster for `destination` in the table of `port`: the port it names, or the service's only one, or `port`.

    There may be no such cluster; the route then answers 503 until there is, and no other route suffers.
    """
    if destination.port is not None:
        return OutboundCluster(port=destination.port, subset=destination.subset, host=destination.host)
    service = view.any_service(destination.host)
    number = service.ports[0].number if service is not None and len(service.ports) == 1 else port
    return OutboundCluster(port=number, subset=destination.subset, host=destination.host)


def hash_key(cluster: OutboundCluster, view: View) -> HashKey | None:
    """What a request to this cluster is hashed by, None unless its DestinationRule has a consistent hash."""
    policy = policy_for(view.destination_rule(cluster.host), cluster.subset, cluster.port)
    return policy.load_balancer.key if isinstance(policy.load_balancer, ConsistentHash) else None
