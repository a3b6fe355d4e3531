"""Where Envoy gets the rest of a resource from: always the aggregated stream."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import AggregatedConfigSource, ApiVersion, ConfigSource

INITIAL_FETCH_TIMEOUT = timedelta(seconds=15)
"""How long Envoy holds a warming listener or cluster for what it names; Envoy's own default, said aloud."""


def ads() -> ConfigSource:
    """The aggregated stream, xDS v3."""
    return ConfigSource(
        ads=AggregatedConfigSource(),
        resource_api_version=ApiVersion.V3,
        initial_fetch_timeout=INITIAL_FETCH_TIMEOUT,
    )
