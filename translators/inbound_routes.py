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

RETRIES = RetryPolicy(retry_on="reset-before-request", num_retries=1)
"""Once more if the application closed its connection before it can have read anything of the request. As Istio."""


def build_inbound_routes(cluster: str) -> RouteConfiguration:
    """Everything to one cluster, without a timeout: how long a call may take is for the caller's side to say."""
    return RouteConfiguration(
        name=cluster,
        validate_clusters=False,
        virtual_hosts=[
            VirtualHost(
                name=cluster,
                domains=["*"],
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
