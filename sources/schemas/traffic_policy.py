"""The schema of a DestinationRule's `trafficPolicy`, at every level."""

from __future__ import annotations

from model.traffic import SimpleBalancer, TlsMode
from sources.bounded import MAX_COUNT
from sources.header_values import MAX_NAME_BYTES
from sources.istio_load_balancer import ALIASES, KEYS, MAX_MAGLEV_TABLE_SIZE, MAX_RING_SIZE
from sources.istio_traffic_policy import MAX_SNI
from sources.schemas.parts import (
    Schema,
    boolean,
    by_key,
    choice,
    duration,
    integer,
    items,
    number,
    record,
    text,
    unbuilt,
)
from sources.schemas.shared import count, port_selector

_SHARE = integer(0, MAX_COUNT)


def traffic_policy() -> Schema:
    """`trafficPolicy` of a rule or a subset."""
    port_level = record({"port": port_selector(), **_level()}, required=["port"])
    return record(
        {
            **_level(),
            "portLevelSettings": items(port_level),
            "tunnel": unbuilt(
                record(
                    {"protocol": text(), "targetHost": text(), "targetPort": integer(1, 65535)},
                    required=["targetHost", "targetPort"],
                )
            ),
            "proxyProtocol": unbuilt(record({"version": choice(("V1", "V2"))})),
            "retryBudget": unbuilt(
                record({"percent": number(0, 100), "minRetryConcurrency": count(), "budgetInterval": duration()})
            ),
        }
    )


def _level() -> dict[str, Schema]:
    return {
        "loadBalancer": _load_balancer(),
        "connectionPool": connection_pool(),
        "outlierDetection": _outlier_detection(),
        "tls": _tls(),
    }


def _load_balancer() -> Schema:
    return record(
        {
            "simple": choice([*SimpleBalancer, *ALIASES]),
            "consistentHash": _consistent_hash(),
            "localityLbSetting": unbuilt(_locality()),
            "zoneAwareLbSetting": unbuilt(_zone_aware()),
            "warmup": unbuilt(
                record({"duration": duration(), "minimumPercent": number(0, 100), "aggression": number(0)})
            ),
            "warmupDurationSecs": unbuilt(duration()),
        },
        at_most_one=[("simple", "consistentHash")],
    )


def _consistent_hash() -> Schema:
    cookie = record(
        {
            "name": text(least=1, most=MAX_NAME_BYTES),
            "path": text(),
            "ttl": duration(),
            "attributes": unbuilt(items(record({"name": text(least=1), "value": text()}, required=["name"]))),
        },
        required=["name"],
    )
    ring = integer(0, MAX_RING_SIZE)
    found = record(
        {
            "httpHeaderName": text(least=1, most=MAX_NAME_BYTES),
            "httpCookie": cookie,
            "useSourceIp": boolean(),
            "httpQueryParameterName": text(),
            "ringHash": record({"minimumRingSize": ring}),
            "maglev": record({"tableSize": integer(0, MAX_MAGLEV_TABLE_SIZE)}),
            "minimumRingSize": ring,
        },
        at_most_one=[KEYS, ("ringHash", "maglev")],
    )
    return {**found, "anyOf": [{"required": [name]} for name in KEYS]}


def _locality() -> Schema:
    pair = record({"from": text(), "to": text()})
    spread = record({"from": text(), "to": by_key(_SHARE)})
    return record(
        {
            "enabled": boolean(),
            "distribute": items(spread),
            "failover": items(pair),
            "failoverPriority": items(text()),
        }
    )


def _zone_aware() -> Schema:
    pair = record({"from": text(), "to": text()})
    return record(
        {
            "enabled": boolean(),
            "failover": items(pair),
            "failoverPriority": items(text()),
            "minClusterSize": count(),
        }
    )


def connection_pool() -> Schema:
    """`connectionPool`, which the kind Sidecar has too."""
    keepalive = record({"probes": count(), "time": duration("1s"), "interval": duration("1s")})
    tcp = record(
        {
            "maxConnections": count(),
            "connectTimeout": duration("1ms"),
            "tcpKeepalive": keepalive,
            "maxConnectionDuration": duration("1ms"),
            "idleTimeout": duration(),
        }
    )
    http = record(
        {
            "http1MaxPendingRequests": count(),
            "http2MaxRequests": count(),
            "maxRequestsPerConnection": count(),
            "maxRetries": count(),
            "idleTimeout": duration("1ms"),
            "h2UpgradePolicy": choice(("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE")),
            "useClientProtocol": boolean(),
            "maxConcurrentStreams": count(),
            "http2KeepAlive": unbuilt(record({"interval": duration(), "timeout": duration()})),
        }
    )
    return record({"tcp": tcp, "http": http})


def _outlier_detection() -> Schema:
    share = integer(0, 100)
    return record(
        {
            "consecutive5xxErrors": count(),
            "consecutiveErrors": count(),
            "consecutiveGatewayErrors": count(),
            "consecutiveLocalOriginFailures": count(),
            "splitExternalLocalOriginErrors": boolean(),
            "interval": duration("1ms"),
            "baseEjectionTime": duration("1ms"),
            "maxEjectionPercent": share,
            "minHealthPercent": share,
            "outlierDetectionHttpErrorCodes": unbuilt(items(text())),
        }
    )


def _tls() -> Schema:
    return record(
        {
            "mode": choice(TlsMode),
            "clientCertificate": text(),
            "privateKey": text(),
            "caCertificates": text(),
            "credentialName": unbuilt(text()),
            "subjectAltNames": items(text(least=1, most=2048)),
            "sni": text(most=MAX_SNI),
            "insecureSkipVerify": boolean(),
            "caCrl": unbuilt(text()),
        },
        required=["mode"],
    )
