"""What a real Envoy does while clusters warm, on both variants: nothing of it may take its 15 seconds of patience."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.envoy.xds_toy import (
    LOOPBACK,
    NO_ASSIGNMENT,
    SLOW_CLUSTER,
    ToyServer,
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

pytestmark = [pytest.mark.envoy, pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])]
WARM_WITHIN = 5.0
"""Seconds, on a busy machine; Envoy's own patience is 15."""


async def until_warm(toy: ToyServer, admin: int, generation: int, clusters: int) -> None:
    """All acknowledged, nothing warming, and this many clusters besides the server's own."""
    await until_acknowledged(toy, generation, within=WARM_WITHIN)
    counts = await stats(admin, "cluster_manager.(warming|active)_clusters")
    assert counts == {"cluster_manager.warming_clusters": 0, "cluster_manager.active_clusters": clusters + 1}


async def test_r41_r42_clusters_warm_at_once_without_endpoints_and_when_changed(tmp_path: Path, delta: bool) -> None:
    """The toy's clusters have no endpoints; one that is to change does so in how long it takes to connect."""
    events: list[Event] = []
    port = free_port()
    async with toy_server(events) as toy:
        services = [toy_service(f"service{number}", port, "v1") for number in range(5)]
        toy.server.publish(toy_mesh(*services), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=delta) as admin:
            await until_answers(port, "service0", "v1")
            await until_warm(toy, admin, 1, 5)
            before = await stats(admin, "cluster_manager.cluster_modified")
            changed = [toy_service(f"service{number}", port, SLOW_CLUSTER) for number in range(5)]
            toy.server.publish(toy_mesh(*changed), 2)
            await until_warm(toy, admin, 2, 5)
            after = await stats(admin, "cluster_manager.cluster_modified")
            assert after["cluster_manager.cluster_modified"] - before["cluster_manager.cluster_modified"] == 5
    assert not [event for event in events if isinstance(event, Rejected)]


async def test_r33_a_cluster_whose_endpoints_do_not_exist_holds_nothing_up(tmp_path: Path, delta: bool) -> None:
    """Incrementally it is told so. State of the world has no word for it: the others are served meanwhile."""
    events: list[Event] = []
    port = free_port()
    async with toy_server(events) as toy:
        toy.server.publish(toy_mesh(toy_service("good", port, "v1"), toy_service("bad", port, NO_ASSIGNMENT)), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=delta) as admin:
            if delta:
                await until_answers(port, "good", "v1", within=WARM_WITHIN)
                await until_warm(toy, admin, 1, 2)
            else:
                await until_answers(port, "good", "v1", within=25)
    assert not [event for event in events if isinstance(event, Rejected)]


async def test_r38_endpoints_that_vanish_are_not_called_any_more(tmp_path: Path, delta: bool) -> None:
    events: list[Event] = []
    port = free_port()
    upstream = await asyncio.start_server(answer_ok, LOOPBACK, 0)
    up = {"users": int(upstream.sockets[0].getsockname()[1])}
    async with upstream, toy_server(events) as toy:
        users = toy_service("users", port, "v1")
        toy.server.publish(toy_mesh(users, upstreams=up), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=delta):
            await until_answers(port, "users", "v1")
            assert await get(port, "/up", host="users") == (200, "ok")
            toy.server.publish(toy_mesh(users), 2)
            await until_acknowledged(toy, 2)
            assert (await get(port, "/up", host="users"))[0] == 503
            toy.server.publish(toy_mesh(users, upstreams=up), 3)
            await until_acknowledged(toy, 3)
            assert await get(port, "/up", host="users") == (200, "ok")
