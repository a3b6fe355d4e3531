"""A real Envoy on the state-of-the-world variant, which gets joined route tables."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from model.mesh import Mesh
from tests.envoy.xds_toy import (
    BAD_CLUSTER,
    LOOPBACK,
    answer_ok,
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


async def test_r25_clusters_and_listeners_come_and_go_as_a_whole(tmp_path: Path) -> None:
    events: list[Event] = []
    first, second = free_port(), free_port()
    async with toy_server(events) as toy:
        toy.server.publish(toy_mesh(toy_service("users", first, "v1")), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=False) as admin:
            await until_answers(first, "users", "v1")
            await until_acknowledged(toy, 1)
            toy.server.publish(toy_mesh(toy_service("users", first, "v2"), toy_service("late", second, "late")), 2)
            await until_answers(first, "users", "v2")
            assert await until_answers(second, "late", "late") < 1
            await until_acknowledged(toy, 2)
            toy.server.publish(toy_mesh(toy_service("users", first, "v2")), 3)
            await until_acknowledged(toy, 3)
            assert await get(second, host="late") == (0, "")
            assert (await stats(admin, "cluster_manager.active_clusters"))["cluster_manager.active_clusters"] == 2
    assert not [event for event in events if isinstance(event, Rejected)]


async def test_r46_a_refused_cluster_stays_as_it_was_and_the_others_change(tmp_path: Path) -> None:
    events: list[Event] = []
    port = free_port()
    async with toy_server(events) as toy:
        toy.server.publish(toy_mesh(*(toy_service(f"service{number}", port, "v1") for number in range(6))), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=False) as admin:
            await until_answers(port, "service0", "v1")
            await until_acknowledged(toy, 1)
            changed = [toy_service(f"service{number}", port, "v2") for number in (0, 1, 2, 4, 5, 6, 7)]
            toy.server.publish(toy_mesh(*changed, toy_service("service3", port, BAD_CLUSTER)), 2)
            await until_answers(port, "service7", "v2")
            await until_acknowledged(toy, 2)
            (rejected,) = toy.server.state()[0].rejected
            assert rejected[1].name == f"outbound|{port}||service3.toy.svc.cluster.local"
            assert (await stats(admin, "cluster_manager.active_clusters"))["cluster_manager.active_clusters"] == 9


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
@pytest.mark.parametrize("times", [40, pytest.param(1000, marks=pytest.mark.soak)])
async def test_r40_moving_a_route_between_clusters_under_load_loses_nothing(
    tmp_path: Path, delta: bool, times: int
) -> None:
    """The service is renamed back and forth: its cluster goes, another comes, one host leads to either."""
    events: list[Event] = []
    port = free_port()
    upstream = await asyncio.start_server(answer_ok, LOOPBACK, 0)
    upstream_port = int(upstream.sockets[0].getsockname()[1])

    def world(name: str) -> Mesh:
        return toy_mesh(toy_service(name, port, "up"), upstreams={name: upstream_port})

    async with upstream, toy_server(events) as toy:
        toy.server.publish(world("move-a"), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=delta) as admin:
            await until_answers(port, "moving", "up")
            statuses: list[int] = []
            for generation in range(2, times + 2):
                toy.server.publish(world("move-b" if generation % 2 == 0 else "move-a"), generation)
                while not toy.server.state()[0].acknowledged(generation):
                    calls = (get(port, "/up", host="moving") for _ in range(4))
                    statuses += [status for status, _ in await asyncio.gather(*calls)]
            assert set(statuses) == {200}
            assert len(statuses) >= 4 * times
            counters = await stats(admin, "cluster_not_found|no_route|no_cluster")
            assert not any(counters.values()), counters
