"""Copies of requests for somebody who only listens."""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import RouteActionRequestMirrorPolicy

from model.routing import Mirror
from model.view import View
from translators.destinations import to_cluster
from translators.percentages import build_runtime_percentage


def build_mirrors(mirrors: tuple[Mirror, ...], port: int, view: View) -> list[RouteActionRequestMirrorPolicy]:
    """The copies keep their Host, as in today's Istio: Envoy would append `-shadow` to it."""
    return [
        RouteActionRequestMirrorPolicy(
            cluster=str(to_cluster(mirror.destination, port, view)),
            runtime_fraction=build_runtime_percentage(mirror.percentage),
            disable_shadow_host_suffix_append=True,
        )
        for mirror in mirrors
        if mirror.percentage > 0
    ]
