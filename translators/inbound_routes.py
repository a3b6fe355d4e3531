"""The one route of a request that has arrived: to the application."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import (
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)

from model.view import View
from translators.authorization import build_http_authorization
from translators.inbound_ports import inbound_targets

RETRIES = RetryPolicy(retry_on="reset-before-request", num_retries=1)
"""Once more if the application closed its connection before it can have read anything of the request. As Istio."""


def build_inbound_routes(cluster: str, view: View) -> RouteConfiguration | None:
    """Everything to one inbound cluster, which it is named after; None if there is no such cluster.

    Without a timeout: how long a call may take is for the caller's side to say. The policies in force are part of it.
    """
    if cluster not in {target.cluster for target in inbound_targets(view)}:
        return None
    return RouteConfiguration(
        name=cluster,
        validate_clusters=False,
        virtual_hosts=[
            VirtualHost(
                name=cluster,
                domains=["*"],
                typed_per_filter_config=build_http_authorization(view),
                routes=[
                    Route(
                        name="default",
                        match=RouteMatch(prefix="/"),
                        route=RouteAction(
                            cluster=cluster, timeout=timedelta(0), idle_timeout=timedelta(0), retry_policy=RETRIES
                        ),
                    )
                ],
            )
        ],
    )
