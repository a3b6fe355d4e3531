"""The wire: encoding and decoding, ours against envoy-data-plane's own, interleaved in one run.

Here the messages are the library's own, for both sides, since they are loaded before any package of ours; elsewhere
they are plain dataclasses, and building them is quicker still. Prints the median time of each side and how many times
faster ours is. Exits 1 if a target is missed.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from betterproto2 import Message
from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    ClusterLbPolicy,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    HealthStatus,
    Http2ProtocolOptions,
    Locality,
    Metadata,
    SocketAddress,
    TransportSocket,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    SdsSecretConfig,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any as PackedMessage
from envoy_data_plane.google.protobuf import Struct, Value

from bench.figures_table import Figure, figures_parser, report
from protos import discovery_pb2
from protos.encoder import encode, to_any
from protos.templates import new

FIRST_REQUEST = Path(__file__).parents[1] / "tests" / "fixtures" / "envoy_first_delta_request.bin"
SERVICE = "reviews.shop.svc.cluster.local"

Make = Callable[..., object]
"""How a message is made: `validated`, or `new` for the unvalidated one."""
Pack = Callable[[Message], PackedMessage]


def validated(cls: Callable[..., object], **fields: object) -> object:
    """The library's own construction."""
    return cls(**fields)


def build_cluster(make: Make, pack: Pack) -> Message:
    """A typical outbound cluster: EDS, HTTP/2, mutual TLS with secrets over ADS, outlier detection, limits."""
    ads = make(ConfigSource, ads=make(AggregatedConfigSource), resource_api_version=ApiVersion.V3)
    identity = make(
        SubjectAltNameMatcher,
        san_type=SubjectAltNameMatcherSanType.URI,
        matcher=make(StringMatcher, exact="spiffe://cluster.local/ns/shop/sa/reviews"),
    )
    trust = make(
        CommonTlsContextCombinedCertificateValidationContext,
        default_validation_context=make(CertificateValidationContext, match_typed_subject_alt_names=[identity]),
        validation_context_sds_secret_config=make(SdsSecretConfig, name="ROOTCA", sds_config=ads),
    )
    tls = make(
        UpstreamTlsContext,
        sni=f"outbound_.9080_._.{SERVICE}",
        common_tls_context=make(
            CommonTlsContext,
            alpn_protocols=["istio", "h2"],
            tls_certificate_sds_secret_configs=[make(SdsSecretConfig, name="default", sds_config=ads)],
            combined_validation_context=trust,
        ),
    )
    http2 = make(
        HttpProtocolOptions,
        explicit_http_config=make(
            HttpProtocolOptionsExplicitHttpConfig, http2_protocol_options=make(Http2ProtocolOptions)
        ),
    )
    names = {"host": make(Value, string_value=SERVICE), "namespace": make(Value, string_value="shop")}
    cluster = make(
        Cluster,
        name=f"outbound|9080||{SERVICE}",
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=make(ClusterEdsClusterConfig, eds_config=ads),
        connect_timeout=timedelta(seconds=10),
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        circuit_breakers=make(
            CircuitBreakers,
            thresholds=[make(CircuitBreakersThresholds, max_connections=1024, track_remaining=True)],
        ),
        outlier_detection=make(OutlierDetection, consecutive_5xx=5, base_ejection_time=timedelta(seconds=30)),
        typed_extension_protocol_options={
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(http2)  # type: ignore[arg-type]
        },
        transport_socket=make(TransportSocket, name="tls", typed_config=pack(tls)),  # type: ignore[arg-type]
        metadata=make(Metadata, filter_metadata={"heddle": make(Struct, fields=names)}),
    )
    assert isinstance(cluster, Message)
    return cluster


def build_assignment(make: Make, endpoints: int = 1_000) -> Message:
    """The endpoints of a large service, healthy and weighted, in one locality."""
    assignment = make(
        ClusterLoadAssignment,
        cluster_name=f"outbound|9080||{SERVICE}",
        endpoints=[
            make(
                LocalityLbEndpoints,
                locality=make(Locality, region="region", zone="zone"),
                lb_endpoints=[
                    make(
                        LbEndpoint,
                        endpoint=make(
                            Endpoint,
                            address=make(
                                Address,
                                socket_address=make(SocketAddress, address=f"10.0.{i >> 8}.{i & 255}", port_value=9080),
                            ),
                        ),
                        health_status=HealthStatus.HEALTHY,
                        load_balancing_weight=1,
                    )
                    for i in range(endpoints)
                ],
            )
        ],
    )
    assert isinstance(assignment, Message)
    return assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing done both ways. `repeat` is how often a round does ours: its clock is too coarse for one.

    The target is a least ratio, or a most time in microseconds, or neither.
    """

    name: str
    library: Callable[[], object]
    ours: Callable[[], object]
    repeat: int
    least_ratio: float | None = None
    most_us: float | None = None


def cases() -> tuple[Case, ...]:
    """The comparisons, each checked to give the same on both sides."""
    cluster = build_cluster(validated, PackedMessage.pack)
    assignment = build_assignment(validated)
    data = FIRST_REQUEST.read_bytes()
    for message in (cluster, build_cluster(validated, to_any), build_cluster(new, to_any)):
        assert encode(message) == bytes(cluster)
    for message in (assignment, build_assignment(new)):
        assert encode(message) == bytes(assignment)
    assert discovery_pb2.DeltaDiscoveryRequest.FromString(data).node.id

    def library_cluster() -> bytes:
        return bytes(build_cluster(validated, PackedMessage.pack))

    def library_assignment() -> bytes:
        return bytes(build_assignment(validated))

    return (
        Case(
            name="cluster: encode",
            library=lambda: bytes(cluster),
            ours=lambda: encode(cluster),
            repeat=100,
            least_ratio=25,
        ),
        Case(
            name="cluster: build and encode",
            library=library_cluster,
            ours=lambda: encode(build_cluster(validated, to_any)),
            repeat=10,
            least_ratio=6,
        ),
        Case(
            name="cluster: build from templates and encode",
            library=library_cluster,
            ours=lambda: encode(build_cluster(new, to_any)),
            repeat=50,
        ),
        Case(
            name="1,000 endpoints: encode",
            library=lambda: bytes(assignment),
            ours=lambda: encode(assignment),
            repeat=2,
            least_ratio=25,
        ),
        Case(
            name="1,000 endpoints: build from templates and encode",
            library=library_assignment,
            ours=lambda: encode(build_assignment(new)),
            repeat=1,
        ),
        Case(
            name=f"first request of Envoy ({len(data):,} bytes): decode",
            library=lambda: DeltaDiscoveryRequest.parse(data),
            ours=lambda: discovery_pb2.DeltaDiscoveryRequest.FromString(data),
            repeat=100,
            most_us=200,
        ),
    )


def _time_us(work: Callable[[], object], repeat: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(repeat):
        work()
    return (time.perf_counter_ns() - start) / repeat / 1_000


def measure(case: Case, rounds: int) -> Figure:
    """Both sides in turn, so that a busy machine slows them alike."""
    library, ours = [], []
    for _ in range(rounds):
        library.append(_time_us(case.library, 1))
        ours.append(_time_us(case.ours, case.repeat))
    library_us, ours_us = statistics.median(library), statistics.median(ours)
    ratio = library_us / ours_us
    targets = []
    met = True
    if case.least_ratio is not None:
        targets.append(f">= {case.least_ratio:g}x")
        met = met and ratio >= case.least_ratio
    if case.most_us is not None:
        targets.append(f"< {case.most_us:g} us")
        met = met and ours_us < case.most_us
    return Figure(
        what=case.name,
        measured=f"the library {library_us:7,.0f} us, ours {ours_us:8,.1f} us, {ratio:4,.0f} times faster",
        target=", ".join(targets),
        met=met if targets else None,
        values={"library_us": library_us, "ours_us": ours_us, "ratio": ratio},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = figures_parser("wire", __doc__)
    parser.add_argument("--rounds", type=int, default=15, help="rounds a case (15)")
    args = parser.parse_args(arguments)
    return report([measure(case, args.rounds) for case in cases()], args.json)


if __name__ == "__main__":
    sys.exit(main())
