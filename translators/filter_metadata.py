"""Key and value pairs that Envoy's own parts match on: endpoint metadata and its counterpart in clusters and routes."""

from __future__ import annotations

from collections.abc import Mapping

from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.google.protobuf import Struct, Value

from protos.templates import new

TRANSPORT_SOCKET = "envoy.transport_socket_match"
"""The namespace in which a cluster looks for what chooses an endpoint's transport socket."""

LOAD_BALANCING = "envoy.lb"
"""The namespace of load balancer subsets."""

TLS_MODE = "tlsMode"
TLS_MODE_ISTIO = "istio"
"""The pair that says: a sidecar that takes mutual TLS answers here. The names are Istio's."""

POD_ADDRESS = "address"
"""The key under which a headless service's endpoint has its own address."""


def build_struct(values: Mapping[str, str]) -> Struct:
    """Strings by name. Built without validation: endpoints need one each."""
    return new(Struct, fields={key: new(Value, string_value=value) for key, value in values.items()})


def build_metadata(namespaces: Mapping[str, Mapping[str, str]]) -> Metadata:
    """Strings by namespace and name."""
    return new(Metadata, filter_metadata={name: build_struct(values) for name, values in namespaces.items()})


def pod_match(address: str) -> Metadata:
    """What a route or TCP proxy matches on if it wants exactly the pod with this address of a headless service."""
    return build_metadata({LOAD_BALANCING: {POD_ADDRESS: address}})
