"""Outlier detection in a real Envoy: who is ejected gets no request, also when all are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from model.on_demand import SidecarConfig
from model.services import Endpoint, Protocol, Resolution
from model.traffic import OutlierDetection, TrafficPolicy
from tests.envoy.outbound_proxy import Server, proxying, serving
from tests.unit.translators.outbound_meshes import mesh, rule, service

pytestmark = pytest.mark.envoy
IN_BOTH_MODES = True

AT_ONCE = OutlierDetection(
    consecutive_5xx=1,
    interval=timedelta(milliseconds=10),
    base_ejection_time=timedelta(minutes=10),
    max_ejection_percent=100,
)


@pytest.fixture
def two() -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving(f"pod-{last}", f"127.0.0.{last}")) for last in (2, 3)]


@pytest.mark.parametrize("resolution", [Resolution.CLUSTER_IP, Resolution.HEADLESS])
def test_when_all_are_ejected_nobody_is_asked(
    resolution: Resolution, two: list[Server], config: SidecarConfig, tmp_path: Path
) -> None:
    web = service("web", (80, Protocol.HTTP), resolution=resolution)
    endpoints = tuple(Endpoint(address=one.address, ports={80: one.port}, ready=True) for one in two)
    snapshot = mesh(
        [web],
        endpoints={web.host: endpoints},
        rules=[rule(web.host, policy=TrafficPolicy(outlier_detection=AT_ONCE))],
    )
    with proxying(snapshot, tmp_path, config) as proxy:
        for _ in range(40):
            proxy.get(web.host, "/broken")
        for one in two:
            one.forget()
        statuses = [proxy.get(web.host).status for _ in range(20)]
        assert statuses == [503] * 20
        assert [one.count() for one in two] == [0, 0]
