"""How much a sidecar asks of a destination, and when it leaves an endpoint alone."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    OutlierDetection,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.core.v3 import TcpKeepalive

from model.traffic import ConnectionPool
from model.traffic import OutlierDetection as OutlierPolicy
from model.traffic import TcpKeepalive as KeepalivePolicy

UNLIMITED = 2**32 - 1
"""Istio's default for every limit; Envoy's own is 1,024, which a busy sidecar meets."""


def build_circuit_breakers(pool: ConnectionPool) -> CircuitBreakers:
    """The limits of a cluster; 0 means no limit, as in Istio."""
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                max_connections=pool.max_connections or UNLIMITED,
                max_pending_requests=pool.max_pending_requests or UNLIMITED,
                max_requests=pool.max_requests or UNLIMITED,
                max_retries=pool.max_retries or UNLIMITED,
                track_remaining=True,
            )
        ]
    )


def build_connection_options(keepalive: KeepalivePolicy | None) -> UpstreamConnectionOptions | None:
    """TCP keep-alive, or None where the operating system's own is fine."""
    if keepalive is None:
        return None
    return UpstreamConnectionOptions(
        tcp_keepalive=TcpKeepalive(
            keepalive_probes=keepalive.probes,
            keepalive_time=_seconds(keepalive.time),
            keepalive_interval=_seconds(keepalive.interval),
        )
    )


def build_outlier_detection(policy: OutlierPolicy) -> OutlierDetection:
    """Ejection by consecutive failures alone; Envoy's statistical detectors are off, as in Istio.

    A detector whose number is 0 is off, and so is one for gateway errors of which nothing is said.
    """
    return OutlierDetection(
        consecutive_5xx=policy.consecutive_5xx or None,
        enforcing_consecutive_5xx=None if policy.consecutive_5xx is None else _enforced(policy.consecutive_5xx),
        consecutive_gateway_failure=policy.consecutive_gateway or None,
        enforcing_consecutive_gateway_failure=_enforced(policy.consecutive_gateway),
        split_external_local_origin_errors=policy.split_local_origin,
        consecutive_local_origin_failure=policy.consecutive_local_origin or None if policy.split_local_origin else None,
        enforcing_consecutive_local_origin_failure=_local_origin_enforced(policy),
        interval=policy.interval,
        base_ejection_time=policy.base_ejection_time,
        max_ejection_percent=policy.max_ejection_percent or None,
        enforcing_success_rate=0,
        enforcing_local_origin_success_rate=0,
    )


def panic_threshold(policy: OutlierPolicy | None) -> float | None:
    """The share of healthy endpoints, in percent, below which all are used; None leaves Envoy's.

    With outlier detection the default is 0: of two pods one may well be out, and the other takes all.
    """
    return None if policy is None else float(policy.min_health_percent or 0)


def _enforced(failures: int | None) -> int:
    return 100 if failures else 0


def _local_origin_enforced(policy: OutlierPolicy) -> int | None:
    if not policy.split_local_origin or policy.consecutive_local_origin is None:
        return None
    return _enforced(policy.consecutive_local_origin)


def _seconds(span: timedelta | None) -> int | None:
    """At least one second: the kernel counts no less."""
    return None if span is None else max(1, round(span.total_seconds()))
