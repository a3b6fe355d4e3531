"""How a destination is called: the DestinationRule kind. Source of every field: Istio DestinationRule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from model.problems import ObjectRef


class SimpleBalancer(StrEnum):
    """LEAST_CONN (deprecated) is read as LEAST_REQUEST, UNSPECIFIED too: Istio's default."""

    ROUND_ROBIN = "ROUND_ROBIN"
    RANDOM = "RANDOM"
    LEAST_REQUEST = "LEAST_REQUEST"
    PASSTHROUGH = "PASSTHROUGH"


@dataclass(frozen=True, slots=True, kw_only=True)
class HashHeader:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HashCookie:
    """`ttl` None: only a cookie the client has already counts; else Envoy sets one that lives so long (0: session)."""

    name: str
    path: str = ""
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HashSourceAddress:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class HashQueryParameter:
    name: str


HashKey: TypeAlias = HashHeader | HashCookie | HashSourceAddress | HashQueryParameter


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistentHash:
    """`maglev_table_size` not None: Maglev (a prime), else a ring of at least `minimum_ring_size`."""

    key: HashKey
    minimum_ring_size: int = 1024
    maglev_table_size: int | None = None


LoadBalancer: TypeAlias = SimpleBalancer | ConsistentHash


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpKeepalive:
    """None: the operating system's default. `probes` a count."""

    probes: int | None = None
    time: timedelta | None = None
    interval: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPool:
    """None: Istio's default (practically unlimited; connect timeout 10 s, idle timeout 1 h).

    `tcp_idle_timeout` is in force for HTTP too where `http_idle_timeout` is None; 0 turns it off.
    """

    max_connections: int | None = None
    connect_timeout: timedelta | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: timedelta | None = None
    tcp_idle_timeout: timedelta | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_requests_per_connection: int | None = None
    max_retries: int | None = None
    http_idle_timeout: timedelta | None = None
    h2_upgrade: bool | None = None
    use_client_protocol: bool = False
    max_concurrent_streams: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    """None: Envoy's default for that field. Percentages 0 to 100.

    Setting one of the `consecutive_*` to 0 turns that detector off.
    """

    consecutive_5xx: int | None = None
    consecutive_gateway: int | None = None
    split_local_origin: bool = False
    consecutive_local_origin: int | None = None
    interval: timedelta | None = None
    base_ejection_time: timedelta | None = None
    max_ejection_percent: int | None = None
    min_health_percent: int | None = None


class TlsMode(StrEnum):
    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """TLS to the destination. The three files are paths in the sidecar; only MUTUAL takes the first two."""

    mode: TlsMode
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPolicy:
    """None: what the level above says (port over subset over rule; whole fields, never merged inside).

    `ports` are the overrides of single Service ports; their own `ports` are empty.
    """

    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTls | None = None
    ports: Mapping[int, TrafficPolicy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    policy: TrafficPolicy = field(default_factory=TrafficPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationRule:
    """`host` is qualified, or a wildcard (`*.shop.svc.cluster.local`, `*`); the most specific wins, then the oldest."""

    ref: ObjectRef
    host: str
    policy: TrafficPolicy = field(default_factory=TrafficPolicy)
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    created: datetime | None = None

    def subset(self, name: str) -> Subset | None:
        """The subset of that name, or None."""
        return next((subset for subset in self.subsets if subset.name == name), None)


def policy_for(rule: DestinationRule | None, subset: str, port: int) -> TrafficPolicy:
    """What is in force for one port of a destination, as in Istio. `ports` of the result is empty.

    What a level says of the port stands in its place and inherits nothing: not from that level, nor, in a subset, from
    the rule. A subset without a word on the port overrides the rule field by field.
    """
    if rule is None:
        return TrafficPolicy()
    whole = rule.policy.ports.get(port, rule.policy)
    chosen = rule.subset(subset) if subset else None
    own = chosen.policy if chosen is not None else TrafficPolicy()
    if port in own.ports:
        return own.ports[port]
    return TrafficPolicy(
        load_balancer=own.load_balancer if own.load_balancer is not None else whole.load_balancer,
        connection_pool=own.connection_pool if own.connection_pool is not None else whole.connection_pool,
        outlier_detection=own.outlier_detection if own.outlier_detection is not None else whole.outlier_detection,
        tls=own.tls if own.tls is not None else whole.tls,
    )
