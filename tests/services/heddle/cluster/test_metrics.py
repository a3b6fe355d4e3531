"""What Prometheus reads of a replica."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from heddle import clock
from heddle.cluster.metrics import describe_plane
from heddle.cluster.metrics_text import Metric, MetricKind, to_text
from heddle.control_plane import ControlPlane
from model.names import IDENTITY_SECRET
from protos import discovery_pb2 as pb
from protos.type_urls import CLUSTER
from sds.tokens import Caller
from tests.kubernetes_api import objects
from tests.kubernetes_api.issuer import FakeIssuer, new_rsa_key
from tests.kubernetes_api.server import FakeApiServer, running
from tests.kubernetes_api.stream import DELTA, node_id, plane_of, try_stream

ISSUER = FakeIssuer(new_rsa_key())
CALLER = Caller(namespace="shop", service_account="web", pod_name="web-1", pod_uid="uid-web-1")
NODE = node_id("web-1", "shop")
LINE = re.compile(r'([a-z_]+)(?:\{reason="([A-Z_]+)"\})? ([0-9.e+-]+)')


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with running(FakeApiServer()) as server:
        ISSUER.publish(server)
        server.put(objects.service("web"))
        server.put(objects.pod("web-1", "10.0.0.1"))
        async with plane_of(server.write_kubeconfig(tmp_path / "config"), host="0.0.0.0") as found:
            yield found


def read(plane: ControlPlane) -> dict[tuple[str, str], float]:
    lines = [line for line in describe_plane(plane).splitlines() if not line.startswith("#")]
    found = [LINE.fullmatch(line) for line in lines]
    assert None not in found, lines
    return {(match[1], match[2] or ""): float(match[3]) for match in found if match is not None}


async def test_what_happens_is_counted(plane: ControlPlane) -> None:
    before = read(plane)
    assert before["heddle_connected_sidecars", ""] == 0
    assert before["heddle_rejected_resources", ""] == 0
    assert before["heddle_pending", ""] == 0
    assert before["heddle_generation", ""] == plane.store.generation > 0
    assert before["process_resident_memory_bytes", ""] > 10 * 1024 * 1024
    assert before["process_cpu_seconds_total", ""] > 0
    assert before["heddle_certificates_issued_total", ""] == 0
    assert {number for (name, _), number in before.items() if name == "heddle_streams_refused_total"} == {0}

    assert (await try_stream(plane, "garbage", NODE)).code is grpc.StatusCode.UNAUTHENTICATED
    token = ISSUER.mint(CALLER, clock.now())
    assert (await try_stream(plane, token, node_id("web-2", "shop"))).code is grpc.StatusCode.PERMISSION_DENIED
    plane.admission.secrets_for(CALLER, "ipv4:10.0.0.1:4711").secret(IDENTITY_SECRET, clock.now())
    after = read(plane)
    assert after["heddle_streams_refused_total", "UNAUTHENTICATED"] >= 1
    assert after["heddle_streams_refused_total", "PERMISSION_DENIED"] >= 1
    assert after["heddle_streams_refused_total", "RESOURCE_EXHAUSTED"] == 0
    assert after["heddle_certificates_issued_total", ""] == 1


async def test_a_stream_that_is_open_is_a_connected_sidecar(plane: ControlPlane) -> None:
    _, port = plane.xds_address
    trust = grpc.ssl_channel_credentials(plane.trust_bundle)
    options = (("grpc.ssl_target_name_override", plane.server_name),)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trust, options=options) as channel:
        message = pb.DeltaDiscoveryRequest(type_url=CLUSTER)
        message.node.id = NODE
        call = channel.stream_stream(DELTA)(metadata=(("authorization", f"Bearer {ISSUER.mint(CALLER, clock.now())}"),))
        await call.write(message.SerializeToString())
        await call.read()
        assert read(plane)["heddle_connected_sidecars", ""] == 1
        call.cancel()


def test_the_format_is_prometheus_s() -> None:
    metrics = (
        Metric(name="up", kind=MetricKind.GAUGE, help="Whether.", values={"": 1}),
        Metric(name="no_total", kind=MetricKind.COUNTER, help="Noes.", label="why", values={"a": 1.5, "b": 2}),
    )
    assert to_text(metrics) == (
        "# HELP up Whether.\n# TYPE up gauge\nup 1\n"
        '# HELP no_total Noes.\n# TYPE no_total counter\nno_total{why="a"} 1.5\nno_total{why="b"} 2\n'
    )
