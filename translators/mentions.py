"""Which clusters a virtual host sends requests to: what a sidecar must have before it gets the virtual host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import betterproto2
from envoy_data_plane.envoy.config.route.v3 import RouteAction, RouteActionRequestMirrorPolicy, VirtualHost


def clusters_named(message: betterproto2.Message) -> frozenset[str]:
    """The names of all clusters that a virtual host's routes, their shares and their mirrors name; none for any other
    message."""
    return frozenset(_named_by(message)) if isinstance(message, VirtualHost) else frozenset()


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
