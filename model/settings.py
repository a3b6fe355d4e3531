"""The mesh-wide settings: ConfigMap `istio` in `istio-system`, key `mesh`, in Istio's MeshConfig field names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from model.identity import DEFAULT_TRUST_DOMAIN, check_trust_domain
from model.routing import RetryPolicy


class OutboundTraffic(StrEnum):
    """What happens to destinations nobody has declared."""

    ALLOW_ANY = "ALLOW_ANY"
    REGISTRY_ONLY = "REGISTRY_ONLY"


class PathNormalization(StrEnum):
    """How an inbound sidecar makes paths comparable before policies see them. DEFAULT is read as BASE."""

    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


DEFAULT_RETRIES = RetryPolicy(attempts=2)
DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """What holds for the whole mesh unless an object says otherwise. The defaults are Istio's.

    `access_log_file` '' means no access log. `protocol_detection_timeout` is how long a connection to a port of
    unknown protocol may stay silent before it is taken for TCP.
    """

    root_namespace: str = "istio-system"
    trust_domain: str = DEFAULT_TRUST_DOMAIN
    trust_domain_aliases: tuple[str, ...] = ()
    outbound_traffic: OutboundTraffic = OutboundTraffic.ALLOW_ANY
    enable_auto_mtls: bool = True
    path_normalization: PathNormalization = PathNormalization.BASE
    default_retries: RetryPolicy = DEFAULT_RETRIES
    connect_timeout: timedelta = timedelta(seconds=10)
    protocol_detection_timeout: timedelta = timedelta(milliseconds=300)
    access_log_file: str = ""
    access_log_format: str = ""
    access_log_json: bool = False
    default_export_to: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        for alias in self.trust_domain_aliases:
            check_trust_domain(alias)
