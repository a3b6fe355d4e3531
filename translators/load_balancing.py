"""Which endpoint of a cluster gets the next request, and which part of a request decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from envoy_data_plane.envoy.config.cluster.v3 import (
    ClusterLbPolicy,
    ClusterLbSubsetConfig,
    ClusterLbSubsetConfigLbSubsetFallbackPolicy,
    ClusterLbSubsetConfigLbSubsetSelector,
    ClusterLbSubsetConfigLbSubsetSelectorLbSubsetSelectorFallbackPolicy,
    ClusterMaglevLbConfig,
    ClusterRingHashLbConfig,
)
from envoy_data_plane.envoy.config.route.v3 import (
    RouteActionHashPolicy,
    RouteActionHashPolicyConnectionProperties,
    RouteActionHashPolicyCookie,
    RouteActionHashPolicyHeader,
    RouteActionHashPolicyQueryParameter,
)

from model.traffic import (
    ConsistentHash,
    HashCookie,
    HashHeader,
    HashKey,
    HashQueryParameter,
    HashSourceAddress,
    LoadBalancer,
    SimpleBalancer,
)
from translators.filter_metadata import POD_ADDRESS, build_struct

MAX_RING_SIZE = 8 * 1024 * 1024
"""Envoy refuses a larger ring."""

_SIMPLE: Mapping[SimpleBalancer, ClusterLbPolicy] = {
    SimpleBalancer.ROUND_ROBIN: ClusterLbPolicy.ROUND_ROBIN,
    SimpleBalancer.RANDOM: ClusterLbPolicy.RANDOM,
    SimpleBalancer.LEAST_REQUEST: ClusterLbPolicy.LEAST_REQUEST,
    SimpleBalancer.PASSTHROUGH: ClusterLbPolicy.CLUSTER_PROVIDED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Balancing:
    """A cluster's three fields on load balancing."""

    policy: ClusterLbPolicy
    ring_hash: ClusterRingHashLbConfig | None = None
    maglev: ClusterMaglevLbConfig | None = None


def build_balancing(balancer: LoadBalancer | None) -> Balancing:
    """LEAST_REQUEST, Istio's default, if nothing is said."""
    match balancer:
        case None:
            return Balancing(policy=ClusterLbPolicy.LEAST_REQUEST)
        case SimpleBalancer():
            return Balancing(policy=_SIMPLE[balancer])
        case ConsistentHash(maglev_table_size=None):
            size = min(balancer.minimum_ring_size, MAX_RING_SIZE)
            return Balancing(
                policy=ClusterLbPolicy.RING_HASH, ring_hash=ClusterRingHashLbConfig(minimum_ring_size=size)
            )
        case ConsistentHash():
            return Balancing(
                policy=ClusterLbPolicy.MAGLEV, maglev=ClusterMaglevLbConfig(table_size=balancer.maglev_table_size)
            )
        case _:
            assert_never(balancer)


def build_pod_subsets(only: str | None = None) -> ClusterLbSubsetConfig:
    """Lets a caller of a headless service name one pod by its address (`filter_metadata.pod_match`).

    A pod that is gone gets nothing (503), never another pod's answer; who names none gets any, or `only` the pod with
    that address.
    """
    if only is not None:
        default = build_struct({POD_ADDRESS: only})
        fallback = ClusterLbSubsetConfigLbSubsetFallbackPolicy.DEFAULT_SUBSET
    else:
        default = None
        fallback = ClusterLbSubsetConfigLbSubsetFallbackPolicy.ANY_ENDPOINT
    nothing = ClusterLbSubsetConfigLbSubsetSelectorLbSubsetSelectorFallbackPolicy.NO_FALLBACK
    return ClusterLbSubsetConfig(
        fallback_policy=fallback,
        default_subset=default,
        subset_selectors=[ClusterLbSubsetConfigLbSubsetSelector(keys=[POD_ADDRESS], fallback_policy=nothing)],
    )


def build_hash_policy(key: HashKey) -> RouteActionHashPolicy:
    """What a route hashes for a cluster with a consistent hash."""
    match key:
        case HashHeader():
            return RouteActionHashPolicy(header=RouteActionHashPolicyHeader(header_name=key.name))
        case HashCookie():
            return RouteActionHashPolicy(cookie=RouteActionHashPolicyCookie(name=key.name, path=key.path, ttl=key.ttl))
        case HashSourceAddress():
            return RouteActionHashPolicy(
                connection_properties=RouteActionHashPolicyConnectionProperties(source_ip=True)
            )
        case HashQueryParameter():
            return RouteActionHashPolicy(query_parameter=RouteActionHashPolicyQueryParameter(name=key.name))
        case _:
            assert_never(key)
