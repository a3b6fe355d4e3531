"""DestinationRule: field by field from the manifest to the model."""

from __future__ import annotations

from datetime import timedelta

import pytest

from model.problems import Severity
from model.traffic import (
    ClientTls,
    ConnectionPool,
    ConsistentHash,
    DestinationRule,
    HashCookie,
    HashHeader,
    HashQueryParameter,
    HashSourceAddress,
    LoadBalancer,
    OutlierDetection,
    SimpleBalancer,
    Subset,
    TcpKeepalive,
    TlsMode,
    TrafficPolicy,
)
from sources.manifests import parse_documents

SECOND = timedelta(seconds=1)


def parse(spec: str, *, worst: Severity = Severity.INFO) -> DestinationRule:
    text = f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: case, namespace: shop}}
spec: {spec}
"""
    parsed = parse_documents("case.yaml", text.encode())
    assert [problem for problem in parsed.problems if problem.severity not in (Severity.INFO, worst)] == []
    (entry,) = parsed.objects
    assert isinstance(entry.value, DestinationRule)
    return entry.value


def policy(fields: str, *, worst: Severity = Severity.INFO) -> TrafficPolicy:
    return parse(f"{{host: users, trafficPolicy: {{{fields}}}}}", worst=worst).policy


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("users", "users.shop.svc.cluster.local"),
        ("'*.shop.svc.cluster.local'", "*.shop.svc.cluster.local"),
        ("'*'", "*"),
        ("API.example.com", "api.example.com"),
    ],
)
def test_host(written: str, host: str) -> None:
    assert parse(f"{{host: {written}}}").host == host


@pytest.mark.parametrize(
    ("written", "balancer"),
    [
        ("{simple: ROUND_ROBIN}", SimpleBalancer.ROUND_ROBIN),
        ("{simple: RANDOM}", SimpleBalancer.RANDOM),
        ("{simple: LEAST_REQUEST}", SimpleBalancer.LEAST_REQUEST),
        ("{simple: PASSTHROUGH}", SimpleBalancer.PASSTHROUGH),
        ("{simple: LEAST_CONN}", SimpleBalancer.LEAST_REQUEST),
        ("{simple: UNSPECIFIED}", SimpleBalancer.LEAST_REQUEST),
        ("{}", None),
        ("{consistentHash: {httpHeaderName: X-User}}", ConsistentHash(key=HashHeader(name="x-user"))),
        ("{consistentHash: {useSourceIp: true}}", ConsistentHash(key=HashSourceAddress())),
        ("{consistentHash: {httpQueryParameterName: q}}", ConsistentHash(key=HashQueryParameter(name="q"))),
        (
            "{consistentHash: {httpCookie: {name: User, path: /a, ttl: 0s}}}",
            ConsistentHash(key=HashCookie(name="User", path="/a", ttl=timedelta(0))),
        ),
        ("{consistentHash: {httpCookie: {name: u}}}", ConsistentHash(key=HashCookie(name="u"))),
        (
            "{consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 8388608}}}",
            ConsistentHash(key=HashSourceAddress(), minimum_ring_size=8388608),
        ),
        (
            "{consistentHash: {useSourceIp: true, minimumRingSize: 2048}}",
            ConsistentHash(key=HashSourceAddress(), minimum_ring_size=2048),
        ),
        (
            "{consistentHash: {useSourceIp: true, maglev: {tableSize: 5000011}}}",
            ConsistentHash(key=HashSourceAddress(), maglev_table_size=5000011),
        ),
        (
            "{consistentHash: {useSourceIp: true, maglev: {}}}",
            ConsistentHash(key=HashSourceAddress(), maglev_table_size=65537),
        ),
    ],
)
def test_load_balancer(written: str, balancer: LoadBalancer | None) -> None:
    assert policy(f"loadBalancer: {written}").load_balancer == balancer


@pytest.mark.parametrize(
    ("written", "pool"),
    [
        ("{tcp: {maxConnections: 10}}", ConnectionPool(max_connections=10)),
        ("{tcp: {maxConnections: 0}}", ConnectionPool()),
        ("{tcp: {connectTimeout: 30ms}}", ConnectionPool(connect_timeout=timedelta(milliseconds=30))),
        (
            "{tcp: {tcpKeepalive: {probes: 3, time: 2h, interval: 75s}}}",
            ConnectionPool(
                tcp_keepalive=TcpKeepalive(probes=3, time=timedelta(hours=2), interval=timedelta(seconds=75))
            ),
        ),
        ("{tcp: {maxConnectionDuration: 1s}}", ConnectionPool(max_connection_duration=SECOND)),
        ("{tcp: {idleTimeout: 1s}}", ConnectionPool(tcp_idle_timeout=SECOND)),
        ("{tcp: {idleTimeout: 0s}}", ConnectionPool(tcp_idle_timeout=timedelta(0))),
        ("{http: {http1MaxPendingRequests: 1}}", ConnectionPool(max_pending_requests=1)),
        ("{http: {http2MaxRequests: 1}}", ConnectionPool(max_requests=1)),
        ("{http: {maxRequestsPerConnection: 1}}", ConnectionPool(max_requests_per_connection=1)),
        ("{http: {maxRetries: 1}}", ConnectionPool(max_retries=1)),
        ("{http: {idleTimeout: 1s}}", ConnectionPool(http_idle_timeout=SECOND)),
        ("{http: {h2UpgradePolicy: UPGRADE}}", ConnectionPool(h2_upgrade=True)),
        ("{http: {h2UpgradePolicy: DO_NOT_UPGRADE}}", ConnectionPool(h2_upgrade=False)),
        ("{http: {h2UpgradePolicy: DEFAULT}}", ConnectionPool()),
        ("{http: {useClientProtocol: true}}", ConnectionPool(use_client_protocol=True)),
        ("{http: {maxConcurrentStreams: 7}}", ConnectionPool(max_concurrent_streams=7)),
    ],
)
def test_connection_pool(written: str, pool: ConnectionPool) -> None:
    assert policy(f"connectionPool: {written}").connection_pool == pool


@pytest.mark.parametrize(
    ("written", "detection"),
    [
        ("{}", OutlierDetection()),
        ("{consecutive5xxErrors: 0}", OutlierDetection(consecutive_5xx=0)),
        ("{consecutiveGatewayErrors: 2}", OutlierDetection(consecutive_gateway=2)),
        ("{consecutiveErrors: 3}", OutlierDetection(consecutive_gateway=3)),
        ("{consecutiveErrors: 3, consecutiveGatewayErrors: 2}", OutlierDetection(consecutive_gateway=2)),
        (
            "{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 4}",
            OutlierDetection(split_local_origin=True, consecutive_local_origin=4),
        ),
        (
            "{interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 100, minHealthPercent: 0}",
            OutlierDetection(
                interval=SECOND, base_ejection_time=timedelta(minutes=3), max_ejection_percent=100, min_health_percent=0
            ),
        ),
    ],
)
def test_outlier_detection(written: str, detection: OutlierDetection) -> None:
    assert policy(f"outlierDetection: {written}").outlier_detection == detection


@pytest.mark.parametrize(
    ("written", "tls"),
    [
        ("{mode: DISABLE}", ClientTls(mode=TlsMode.DISABLE)),
        ("{mode: ISTIO_MUTUAL, sni: a.com}", ClientTls(mode=TlsMode.ISTIO_MUTUAL, sni="a.com")),
        (
            "{mode: SIMPLE, caCertificates: /ca, subjectAltNames: [a.com]}",
            ClientTls(mode=TlsMode.SIMPLE, ca_certificates="/ca", subject_alt_names=("a.com",)),
        ),
        ("{mode: SIMPLE, insecureSkipVerify: true}", ClientTls(mode=TlsMode.SIMPLE, insecure_skip_verify=True)),
        (
            "{mode: MUTUAL, clientCertificate: /c, privateKey: /k}",
            ClientTls(mode=TlsMode.MUTUAL, client_certificate="/c", private_key="/k"),
        ),
    ],
)
def test_tls(written: str, tls: ClientTls) -> None:
    assert policy(f"tls: {written}").tls == tls


def test_port_level_settings_are_by_number() -> None:
    found = policy(
        "portLevelSettings: [{port: {number: 443}, tls: {mode: DISABLE}}, {port: {number: 80},"
        "loadBalancer: {simple: RANDOM}}]"
    )
    assert list(found.ports.items()) == [
        (80, TrafficPolicy(load_balancer=SimpleBalancer.RANDOM)),
        (443, TrafficPolicy(tls=ClientTls(mode=TlsMode.DISABLE))),
    ]


def test_subsets() -> None:
    written = "[{name: v1, labels: {b: '1', a: '2'}}, {name: all, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]"
    found = parse(f"{{host: users, exportTo: [shop], subsets: {written}}}")
    assert found.subsets == (
        Subset(name="v1", labels={"a": "2", "b": "1"}),
        Subset(name="all", policy=TrafficPolicy(load_balancer=SimpleBalancer.RANDOM)),
    )
    assert found.export_to == ("shop",)


@pytest.mark.parametrize(
    "fields",
    [
        "loadBalancer: {simple: RANDOM, localityLbSetting: {}}",
        "loadBalancer: {simple: RANDOM, zoneAwareLbSetting: {}}",
        "loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}",
        "loadBalancer: {simple: RANDOM, warmupDurationSecs: 1s}",
        "loadBalancer: {simple: RANDOM}, retryBudget: {percent: 20}",
        "loadBalancer: {simple: RANDOM}, connectionPool: {http: {http2KeepAlive: {interval: 1s}}}",
        "loadBalancer: {simple: RANDOM}, outlierDetection: {outlierDetectionHttpErrorCodes: [500]}",
    ],
)
def test_what_is_not_done_yet_is_said_and_the_rest_stays(fields: str) -> None:
    text = f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: case, namespace: shop}}
spec: {{host: users, trafficPolicy: {{{fields}}}}}
"""
    parsed = parse_documents("case.yaml", text.encode())
    assert [(str(problem.code), problem.severity) for problem in parsed.problems] == [
        ("NotImplemented", Severity.WARNING)
    ]
    assert policy(fields, worst=Severity.WARNING).load_balancer is SimpleBalancer.RANDOM
