"""How streams of a real Envoy begin and end, on both variants: nothing is lost with one, and nothing sent twice."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import grpc
import pytest

from model.mesh import Mesh
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST
from tests.envoy.xds_tap import Tap, tapped
from tests.envoy.xds_toy import (
    LOOPBACK,
    TO,
    ToyServer,
    answer_ok,
    free_port,
    get,
    running_envoy,
    stats,
    toy_mesh,
    toy_server,
    toy_service,
    until,
    until_acknowledged,
    until_answers,
)
from xds.events import Event, Rejected, StreamClosed

pytestmark = [pytest.mark.envoy, pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])]

WARMING = "cluster_manager.warming_clusters"
ACTIVE = "cluster_manager.active_clusters"


async def until_streams(tap: Tap, count: int) -> None:
    """Waits for Envoy's next stream, whose pause before it grows each time."""
    await until(lambda: tap.streams >= count, within=30)


def open_streams(toy: ToyServer) -> int:
    return len(toy.server.state())


async def test_r1_r29_the_node_comes_once_a_stream_and_no_names_are_everything(tmp_path: Path, delta: bool) -> None:
    events: list[Event] = []
    port = free_port()
    async with toy_server(events) as toy, tapped(toy.port) as tap:
        toy.server.publish(toy_mesh(toy_service("users", port, "v1"), toy_service("other", port, "v1")), 1)
        async with running_envoy(tmp_path, ads_port=tap.port, delta=delta):
            await until_answers(port, "users", "v1")
            await until_acknowledged(toy, 1)
            tap.cut()
            await until_streams(tap, 2)
            toy.server.publish(toy_mesh(toy_service("users", port, "v2"), toy_service("other", port, "v1")), 2)
            await until_answers(port, "users", "v2")
            await until_acknowledged(toy, 2)
    for stream in (1, 2):
        said = [message for number, message in tap.said if number == stream and hasattr(message, "node")]
        assert [message.HasField("node") for message in said] == [True] + [False] * (len(said) - 1)
        assert len(said) > 4
    first = tap.requests(CLUSTER, stream=1)[0]
    assert list(first.resource_names_subscribe if delta else first.resource_names) in ([], ["*"])
    assert len(tap.responses(CLUSTER, stream=1)[0].resources) == 2


async def test_r5_who_comes_before_the_first_snapshot_is_served_once_it_is_there(tmp_path: Path, delta: bool) -> None:
    events: list[Event] = []
    port = free_port()
    async with toy_server(events) as toy, tapped(toy.port) as tap:
        async with running_envoy(tmp_path, ads_port=tap.port, delta=delta):
            await until_streams(tap, 2)
            assert not tap.responses(CLUSTER)
            assert await get(port, host="users") == (0, "")
            toy.server.publish(toy_mesh(toy_service("users", port, "v1")), 1)
            await until_answers(port, "users", "v1", within=30)
    refused = [event.reason for event in events if isinstance(event, StreamClosed)]
    assert refused[:1] == ["not ready"]


async def test_r6_r52_the_late_end_of_an_old_stream_touches_nothing_and_leaves_nothing(
    tmp_path: Path, delta: bool
) -> None:
    """The server hears only later that the streams before are gone, of the same node."""
    events: list[Event] = []
    port = free_port()
    async with toy_server(events) as toy, tapped(toy.port) as tap:
        toy.server.publish(toy_mesh(toy_service("users", port, "v1")), 1)
        async with running_envoy(tmp_path, ads_port=tap.port, delta=delta):
            await until_answers(port, "users", "v1")
            await until_acknowledged(toy, 1)
            for number in (2, 3):
                tap.cut(both=False)
                await until_streams(tap, number)
                # Answered on the new stream, though the old one holds the same names.
                toy.server.publish(toy_mesh(toy_service("users", port, f"v{number}")), number)
                await until_answers(port, "users", f"v{number}")
            assert open_streams(toy) == 3
            await tap.tell_server()
            await until(lambda: open_streams(toy) == 1)
            toy.server.publish(toy_mesh(toy_service("users", port, "v4")), 4)
            await until_answers(port, "users", "v4")
            await until_acknowledged(toy, 4)
        await until(lambda: open_streams(toy) == 0)


async def test_r8_who_comes_back_while_it_warms_asks_in_another_order_and_is_served(
    tmp_path: Path, delta: bool
) -> None:
    """For clusters last, and only once it has the endpoints that those it is warming wait for."""
    events: list[Event] = []
    port = free_port()
    users, new = toy_service("users", port, "v1"), toy_service("new", port, "v1")
    async with toy_server(events) as toy, tapped(toy.port) as tap:
        toy.server.publish(toy_mesh(users), 1)
        async with running_envoy(tmp_path, ads_port=tap.port, delta=delta) as admin:
            await until_answers(port, "users", "v1")
            await until_acknowledged(toy, 1)
            tap.lost.add(ENDPOINT)
            toy.server.publish(toy_mesh(users, new), 2)
            async with asyncio.timeout(15):
                while not (await stats(admin, WARMING))[WARMING]:  # noqa: ASYNC110 - Envoy tells nobody
                    await asyncio.sleep(0.01)
            tap.lost.clear()
            tap.cut()
            await until_streams(tap, 2)
            await until_answers(port, "new", "v1", within=5)
            await until_acknowledged(toy, 2)
    types = [said.type_url for stream, said in tap.said if stream == 2]
    assert types.index(ENDPOINT) < types.index(LISTENER) < types.index(CLUSTER)
    answer, question = tap.responses(ENDPOINT, stream=2)[0], tap.requests(CLUSTER, stream=2)[0]
    assert tap.said.index((2, answer)) < tap.said.index((2, question))
    assert not [event for event in events if isinstance(event, Rejected)]


async def test_r9_r10_r21_of_what_a_returning_envoy_has_only_named_types_come_again(
    tmp_path: Path, delta: bool
) -> None:
    """From another server too, whose versions are those of the first; incrementally not even those."""
    events: list[Event] = []
    port = free_port()
    mesh = toy_mesh(toy_service("users", port, "v1"), toy_service("other", port, "v1"))
    async with toy_server(events) as toy, tapped(toy.port) as tap:
        toy.server.publish(mesh, 1)
        async with running_envoy(tmp_path, ads_port=tap.port, delta=delta):
            await until_answers(port, "users", "v1")
            await until_acknowledged(toy, 1)
            await toy.server.stop()
            async with toy_server(events, port=toy.port) as again:
                again.server.publish(mesh, 1)
                await until(lambda: open_streams(again), within=30)
                await tap.quiet()
                last = tap.streams
                for type_url in (CLUSTER, LISTENER):
                    request = tap.requests(type_url, stream=last)[0]
                    assert request.response_nonce == ""
                    assert not tap.responses(type_url, stream=last)
                    assert request.initial_resource_versions if delta else request.version_info
                for type_url in (ENDPOINT, ROUTE):
                    assert bool(tap.responses(type_url, stream=last)) is not delta
    nonces = [(stream, message.nonce) for stream, message in tap.said if hasattr(message, "nonce")]
    assert len(nonces) == len(set(nonces))


async def test_r51_what_was_lost_on_its_way_is_sent_on_the_next_stream(tmp_path: Path, delta: bool) -> None:
    """State of the world: clusters, of which the server remembers from stream to stream who has which set."""
    events: list[Event] = []
    port = free_port()
    async with toy_server(events) as toy, tapped(toy.port) as tap:
        toy.server.publish(toy_mesh(toy_service("users", port, "v1"), toy_service("gone", port, "v1")), 1)
        async with running_envoy(tmp_path, ads_port=tap.port, delta=delta) as admin:
            await until_answers(port, "gone", "v1")
            await until_acknowledged(toy, 1)
            type_url = VIRTUAL_HOST if delta else CLUSTER
            before = len(tap.responses(type_url))
            tap.lost.add(type_url)
            come = [toy_service(name, port, "v2") for name in ("new", "other")]
            toy.server.publish(toy_mesh(toy_service("users", port, "v2"), *come), 2)
            await until(lambda: len(tap.responses(type_url)) > before)
            assert await get(port, host="users") == (200, "v1")
            tap.lost.clear()
            tap.cut()
            await until_streams(tap, 2)
            await until_answers(port, "users", "v2")
            await until_acknowledged(toy, 2)
            assert (await get(port, host="gone"))[0] == 404
            assert (await stats(admin, ACTIVE))[ACTIVE] == 4


async def test_r40_a_route_that_moved_while_it_was_away_loses_nothing(tmp_path: Path, delta: bool) -> None:
    """The cluster that it left is gone by then. Envoy asks for clusters first, and the server knows all about them."""
    events: list[Event] = []
    port = free_port()
    upstream = await asyncio.start_server(answer_ok, LOOPBACK, 0)
    upstream_port = int(upstream.sockets[0].getsockname()[1])

    def world(*there: str) -> Mesh:
        """A host whose requests go to the last of these."""
        services = [toy_service(name, port, "up") for name in there]
        moving = toy_service("moving", port, TO + services[-1].host)
        return toy_mesh(*services, moving, upstreams=dict.fromkeys(there, upstream_port))

    async with upstream, toy_server(events) as toy, tapped(toy.port) as tap:
        before, after = world("stays", "goes"), world("stays")
        toy.server.publish(before, 1)
        async with running_envoy(tmp_path, ads_port=tap.port, delta=delta):
            await until(lambda: toy.server.state() and toy.server.state()[0].acknowledged(1))
            assert await get(port, "/up", host="moving") == (200, "ok")
            tap.cut()
            await until(lambda: open_streams(toy) == 0)
            toy.server.publish(after, 2)
            statuses = []
            while not (toy.server.state() and toy.server.state()[0].acknowledged(2)):
                statuses.append((await get(port, "/up", host="moving"))[0])
    assert set(statuses) == {200}
    said = [message for stream, message in tap.said if stream == 2]
    moved = tap.responses(VIRTUAL_HOST if delta else ROUTE, stream=2)[0]
    assert said.index(moved) < said.index(tap.responses(CLUSTER, stream=2)[0])


async def test_r56_r57_streams_that_end_of_age_end_well_and_miss_nothing(tmp_path: Path, delta: bool) -> None:
    events: list[Event] = []
    port = free_port()
    async with toy_server(events, max_age_seconds=0.5) as toy, tapped(toy.port) as tap:
        toy.server.publish(toy_mesh(toy_service("users", port, "v1")), 1)
        async with running_envoy(tmp_path, ads_port=tap.port, delta=delta):
            await until_answers(port, "users", "v1")
            for generation in range(2, 5):
                await until_streams(tap, generation)
                toy.server.publish(toy_mesh(toy_service("users", port, f"v{generation}")), generation)
                await until_answers(port, "users", f"v{generation}", within=30)
    reasons = [event.reason for event in events if isinstance(event, StreamClosed)]
    assert reasons[:3] == ["age"] * 3
    assert set(tap.ends) == {grpc.StatusCode.OK}


@pytest.mark.soak
async def test_r53_a_frozen_envoy_is_noticed_and_catches_up(tmp_path: Path, delta: bool) -> None:
    """It answers no ping: its stream ends after 40 s at most, and what changed meanwhile is sent on the next."""
    events: list[Event] = []
    port = free_port()
    async with toy_server(events) as toy:
        toy.server.publish(toy_mesh(toy_service("users", port, "v1")), 1)
        processes: list[asyncio.subprocess.Process] = []
        async with running_envoy(tmp_path, ads_port=toy.port, delta=delta, started=processes.append):
            await until_answers(port, "users", "v1")
            await until_acknowledged(toy, 1)
            processes[0].send_signal(signal.SIGSTOP)
            try:
                await until(lambda: not open_streams(toy), within=45)
                toy.server.publish(toy_mesh(toy_service("users", port, "v2")), 2)
            finally:
                processes[0].send_signal(signal.SIGCONT)
            await until_answers(port, "users", "v2", within=30)
