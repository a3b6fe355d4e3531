"""A real Envoy on the incremental variant, route tables over VHDS without the on-demand filter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.envoy.xds_toy import (
    BAD_CLUSTER,
    BAD_ROUTE,
    free_port,
    get,
    running_envoy,
    stats,
    toy_mesh,
    toy_server,
    toy_service,
    until_acknowledged,
    until_answers,
)
from xds.events import Event, Rejected

pytestmark = pytest.mark.envoy

RECEIVED = "cluster.xds-grpc.upstream_cx_rx_bytes_total"


async def received(admin_port: int) -> int:
    return (await stats(admin_port, RECEIVED))[RECEIVED]


async def test_r43_r62_a_changed_route_costs_one_virtual_host_and_a_later_listener_does_not_wait(
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    first, second = free_port(), free_port()
    others = [toy_service(f"other{number}", first, "other") for number in range(100)]
    async with toy_server(events) as toy:
        toy.server.publish(toy_mesh(toy_service("users", first, "v1"), *others), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=True) as admin:
            await until_answers(first, "users", "v1")
            await until_answers(first, "other99", "other")
            await until_acknowledged(toy, 1)
            before = await received(admin)
            toy.server.publish(toy_mesh(toy_service("users", first, "v2"), *others), 2)
            await until_answers(first, "users", "v2")
            await until_acknowledged(toy, 2)
            assert await received(admin) - before < 1000
            toy.server.publish(
                toy_mesh(toy_service("users", first, "v2"), toy_service("late", second, "late"), *others), 3
            )
            assert await until_answers(second, "late", "late") < 1
            await until_acknowledged(toy, 3)
            toy.server.publish(toy_mesh(toy_service("users", first, "v2"), *others), 4)
            await until_acknowledged(toy, 4)
            assert await get(second, host="late") == (0, "")
            assert (await stats(admin, "cluster_manager.active_clusters"))["cluster_manager.active_clusters"] == 102
    assert not [event for event in events if isinstance(event, Rejected)]


async def test_r10_r34_after_a_restart_of_the_control_plane_nothing_unchanged_is_sent_again(tmp_path: Path) -> None:
    events: list[Event] = []
    port = free_port()
    services = [toy_service(f"service{number}", port, "same") for number in range(100)]
    async with toy_server(events) as toy:
        toy.server.publish(toy_mesh(*services), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=True) as admin:
            await until_answers(port, "service0", "same")
            await until_acknowledged(toy, 1)
            await toy.server.stop()
            before = await received(admin)
            assert await get(port, host="service1") == (200, "same")
            async with toy_server(events, port=toy.port) as again:
                again.server.publish(toy_mesh(*services[:99], toy_service("service99", port, "changed")), 1)
                await until_answers(port, "service99", "changed", within=30)
                await until_acknowledged(again, 1)
                assert await get(port, host="service1") == (200, "same")
                assert await received(admin) - before < 2000


async def test_r7_r46_what_envoy_refuses_is_found_and_everything_else_arrives(tmp_path: Path) -> None:
    events: list[Event] = []
    port = free_port()
    async with toy_server(events) as toy:
        services = [toy_service(f"service{number}", port, "v1") for number in range(20)]
        toy.server.publish(toy_mesh(*services), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=True):
            await until_answers(port, "service0", "v1")
            await until_acknowledged(toy, 1)
            changed = [
                toy_service(f"service{number}", port, {7: BAD_ROUTE, 9: BAD_CLUSTER}.get(number, "v2"))
                for number in range(20)
            ]
            toy.server.publish(toy_mesh(*changed), 2)
            for number in {*range(20)} - {7}:
                await until_answers(port, f"service{number}", {9: BAD_CLUSTER}.get(number, "v2"))
            await until_acknowledged(toy, 2)
            assert await get(port, host="service7") == (200, "v1")
            rejected = {resource.name: resource.message for _, resource in toy.server.state()[0].rejected}
            assert rejected.keys() == {
                f"{port}/service7.toy.svc.cluster.local:{port}",
                f"outbound|{port}||service9.toy.svc.cluster.local",
            }
            assert all(rejected.values())
            mended = [toy_service(f"service{number}", port, "v3") for number in range(20)]
            toy.server.publish(toy_mesh(*mended), 3)
            await until_answers(port, "service7", "v3")
            await until_acknowledged(toy, 3)
            assert not toy.server.state()[0].rejected
