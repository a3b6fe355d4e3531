"""A real Envoy that learns on demand: what it asks, what it keeps while nobody answers, and what it never misses."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from tests.envoy.outbound_proxy import serving
from tests.envoy.xds_toy import (
    LOOPBACK,
    TO,
    TOY_BOUND_SECONDS,
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
from xds.demand import DemandLimits
from xds.events import Event, Rejected, StreamClosed

pytestmark = pytest.mark.envoy

ACTIVE = "cluster_manager.active_clusters"
RECEIVED = "cluster.xds-grpc.upstream_cx_rx_bytes_total"


async def number(admin: int, name: str) -> int:
    return (await stats(admin, name))[name]


async def listening(port: int) -> None:
    async with asyncio.timeout(15):
        while (await get(port, host="nobody"))[0] != 404:  # noqa: ASYNC110 - Envoy tells nobody
            await asyncio.sleep(0.05)


async def test_only_what_is_asked_for_is_there_and_an_outage_takes_none_of_it(tmp_path: Path) -> None:
    events: list[Event] = []
    port = free_port()
    services = [toy_service(f"s{one}", port, f"answer {one}") for one in range(200)]
    async with toy_server(events, on_demand=True) as toy:
        toy.server.publish(toy_mesh(*services), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=True) as admin:
            await listening(port)
            before = await number(admin, ACTIVE)
            assert await get(port, host="s7") == (200, "answer 7")
            assert await get(port, host="s7.toy.svc.cluster.local") == (200, "answer 7")
            assert await get(port, host="s8") == (200, "answer 8")
            assert await number(admin, ACTIVE) == before + 2
            await until_acknowledged(toy, 1)
            await toy.server.stop()
            received = await number(admin, RECEIVED)
            assert await get(port, host="s7") == (200, "answer 7")
            loop = asyncio.get_running_loop()
            begun = loop.time()
            assert (await get(port, host="s9"))[0] == 504
            assert TOY_BOUND_SECONDS - 0.5 < loop.time() - begun < TOY_BOUND_SECONDS + 3
            async with toy_server(events, port=toy.port, on_demand=True) as again:
                changed = [*services[:8], toy_service("s8", port, "another"), *services[9:]]
                again.server.publish(toy_mesh(*changed), 1)
                await until_answers(port, "s8", "another", within=30)
                await until_acknowledged(again, 1)
                assert await get(port, host="s7") == (200, "answer 7")
                assert await get(port, host="s9") == (200, "answer 9")
                assert await number(admin, ACTIVE) == before + 3
                assert await number(admin, RECEIVED) - received < 4000
    assert not [event for event in events if isinstance(event, Rejected)]


async def test_a_hundred_that_ask_at_once_are_all_answered(tmp_path: Path) -> None:
    events: list[Event] = []
    port = free_port()
    services = [toy_service(f"s{one}", port, f"answer {one}") for one in range(50)]
    async with toy_server(events, on_demand=True) as toy:
        toy.server.publish(toy_mesh(*services), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=True):
            await listening(port)
            hosts = [f"s{one}" if one < 50 else f"nobody{one}" for one in range(100)]
            answers = await asyncio.gather(*(get(port, host=host) for host in hosts))
            assert answers[:50] == [(200, f"answer {one}") for one in range(50)]
            assert {status for status, _ in answers[50:]} == {404}


async def test_r61_globs_are_hosts_that_nobody_has(tmp_path: Path) -> None:
    events: list[Event] = []
    port = free_port()
    async with toy_server(events, on_demand=True) as toy:
        toy.server.publish(toy_mesh(toy_service("s1", port, "answer")), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=True):
            await listening(port)
            async with asyncio.timeout(TOY_BOUND_SECONDS - 1):
                for host in ("*", "s1*", "s1.toy*", "xdstp:"):
                    assert (await get(port, host=host))[0] == 404
            assert await get(port, host="s1") == (200, "answer")
    assert not [event for event in events if isinstance(event, StreamClosed) and event.reason != "client"]


@pytest.mark.slow
@pytest.mark.parametrize("times", [100, pytest.param(1000, marks=pytest.mark.soak)])
async def test_r40_a_used_host_repointed_again_and_again_under_load_misses_nothing(tmp_path: Path, times: int) -> None:
    """Each time to a cluster that is not there: those before are gone after a tenth of a second."""
    events: list[Event] = []
    port = free_port()
    statuses: Counter[int] = Counter()
    limits = DemandLimits(cluster_grace=timedelta(seconds=0.1))
    names = [f"target{one}" for one in range(50)]
    with serving("up", LOOPBACK) as upstream:
        others = [toy_service(name, port, "target") for name in names]
        upstreams = dict.fromkeys(names, upstream.port)

        async def call(stop: asyncio.Event) -> None:
            while not stop.is_set():
                statuses[(await get(port, "/up", host="users"))[0]] += 1

        async with toy_server(events, on_demand=True, limits=limits) as toy:
            toy.server.publish(toy_mesh(toy_service("users", port, "here"), *others, upstreams=upstreams), 1)
            async with running_envoy(tmp_path, ads_port=toy.port, delta=True) as admin:
                await listening(port)
                before = await number(admin, ACTIVE)
                users = toy_service("users", port, f"{TO}target0.toy.svc.cluster.local")
                toy.server.publish(toy_mesh(users, *others, upstreams=upstreams), 2)
                assert await get(port, "/up", host="users") == (200, "up")
                stop = asyncio.Event()
                callers = [asyncio.create_task(call(stop)) for _ in range(2)]
                for turn in range(3, times + 3):
                    users = toy_service("users", port, f"{TO}{names[turn % 50]}.toy.svc.cluster.local")
                    toy.server.publish(toy_mesh(users, *others, upstreams=upstreams), turn)
                    await until_acknowledged(toy, turn)
                stop.set()
                await asyncio.gather(*callers)
                await asyncio.sleep(0.5)
                assert await number(admin, ACTIVE) <= before + 2
    assert statuses.keys() == {200}, statuses
    assert statuses[200] > 100


async def test_what_was_used_is_there_ahead_in_the_next_envoy_and_taken_back_unless_it_is_asked_for(
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    port = free_port()
    services = [toy_service(f"s{one}", port, f"answer {one}") for one in range(200)]
    limits = DemandLimits(unused_after=timedelta(seconds=4), cluster_grace=timedelta(seconds=0.1))
    async with toy_server(events, on_demand=True, limits=limits) as toy:
        toy.server.publish(toy_mesh(*services), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=True) as admin:
            await listening(port)
            unused = await number(admin, ACTIVE)
            assert await get(port, host="s7") == (200, "answer 7")
            assert await get(port, host="s8") == (200, "answer 8")
        await until(lambda: not toy.server.state())
        async with running_envoy(tmp_path, ads_port=toy.port, delta=True) as admin:
            await listening(port)
            await until_acknowledged(toy, 1)
            assert await number(admin, ACTIVE) == unused + 2
            async with asyncio.timeout(15):
                while await number(admin, ACTIVE) > unused:  # noqa: ASYNC110 - Envoy tells nobody
                    await asyncio.sleep(0.1)
            assert await get(port, host="s7") == (200, "answer 7")
            await asyncio.sleep(5)
            assert await number(admin, ACTIVE) == unused + 1
            assert await get(port, host="s7") == (200, "answer 7")
    assert not [event for event in events if isinstance(event, Rejected)]


async def test_whoever_invents_hosts_without_end_gets_everything_ahead_and_misses_nothing(tmp_path: Path) -> None:
    events: list[Event] = []
    port = free_port()
    services = [toy_service(f"s{one}", port, f"answer {one}") for one in range(20)]
    async with toy_server(events, on_demand=True, limits=DemandLimits(nobodys=50)) as toy:
        toy.server.publish(toy_mesh(*services), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=True):
            await listening(port)
            assert await get(port, host="s1") == (200, "answer 1")
            for one in range(200):
                assert (await get(port, host=f"invented{one}"))[0] == 404
            async with asyncio.timeout(15):
                while not [state for state in toy.server.state() if not state.asker.on_demand]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await until_acknowledged(toy, 1)
            assert await get(port, host="s1") == (200, "answer 1")
            assert await get(port, host="s2") == (200, "answer 2")
    assert "mode" in [event.reason for event in events if isinstance(event, StreamClosed)]
