"""All kinds that Heddle reads."""

from __future__ import annotations

from collections.abc import Mapping

from sources import (
    configuration,
    endpoint_slices,
    istio_authorization_policy,
    istio_destination_rule,
    istio_gateway,
    istio_peer_authentication,
    istio_sidecar,
    istio_virtual_service,
    namespaces,
    pods,
    services,
    workloads,
)
from sources.kinds import Kind

_ALL = (
    *namespaces.KINDS,
    services.KIND,
    endpoint_slices.KIND,
    pods.KIND,
    *workloads.KINDS,
    *configuration.KINDS,
    istio_virtual_service.KIND,
    istio_gateway.KIND,
    istio_sidecar.KIND,
    istio_destination_rule.KIND,
    istio_peer_authentication.KIND,
    istio_authorization_policy.KIND,
)

KINDS: Mapping[tuple[str, str], Kind] = {(kind.group, kind.kind): kind for kind in _ALL}
"""By (group, kind)."""
