"""What a resource needs of the next type: a virtual host its clusters, before it; a cluster its endpoints, after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import betterproto2
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.route.v3 import RouteAction, RouteActionRequestMirrorPolicy, VirtualHost


def names_needed(message: betterproto2.Message) -> frozenset[str]:
    """Of a virtual host all clusters that its routes, their shares and their mirrors name; of a cluster the assignment
    that it has under another name than its own; none of any other message."""
    match message:
        case VirtualHost():
            return frozenset(_named_by(message))
        case Cluster():
            eds = message.eds_cluster_config
            return frozenset({eds.service_name} if eds is not None and eds.service_name else ())
        case _:
            return frozenset()


def _named_by(host: VirtualHost) -> Iterator[str]:
    yield from _mirrors(host.request_mirror_policies)
    for route in host.routes:
        yield from _mirrors(route.route.request_mirror_policies if route.route else ())
        if route.route is not None:
            yield from _targets(route.route)


def _targets(action: RouteAction) -> Iterator[str]:
    if action.cluster:
        yield action.cluster
    if action.weighted_clusters is not None:
        yield from (share.name for share in action.weighted_clusters.clusters)


def _mirrors(policies: Iterable[RouteActionRequestMirrorPolicy]) -> Iterator[str]:
    return (policy.cluster for policy in policies if policy.cluster)
