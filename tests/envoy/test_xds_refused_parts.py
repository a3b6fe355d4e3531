"""What a real Envoy does with a response that it refuses, or answers too late: it may have taken all of it, or a part.

It takes the good ones of several clusters or listeners. Of a cluster that it refuses it may have a part (`half made`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import betterproto2
import pytest
from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterLbPolicy,
    ClusterMaglevLbConfig,
)

from model.view import View
from protos.type_urls import CLUSTER, LISTENER
from tests.envoy.test_xds_conversation import serving
from tests.envoy.xds_tap import Tap
from tests.envoy.xds_toy import (
    ToyServer,
    free_port,
    get,
    toy_answering,
    toy_derive,
    toy_mesh,
    toy_names,
    toy_service,
    until,
    until_acknowledged,
    until_answers,
)
from translators.mentions import names_needed
from xds.memo import Memo

pytestmark = pytest.mark.envoy
both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])

REFUSED = "its cluster has endpoints of its own and is to resolve a name"
HALF_MADE = "its cluster's table is no prime"
QUIET = "it has no listener"


def derive(type_url: str, name: str, view: View) -> betterproto2.Message | None:
    built = toy_derive(type_url, name, view)
    service = view.service(name.split("|")[3]) if isinstance(built, Cluster) else None
    if service is not None and service.external_name == REFUSED:
        built.type = ClusterDiscoveryType.LOGICAL_DNS
        built.eds_cluster_config = None
    if service is not None and service.external_name == HALF_MADE:
        built.lb_policy = ClusterLbPolicy.MAGLEV
        built.maglev_lb_config = ClusterMaglevLbConfig(table_size=65536)
    return built


def names(type_url: str, view: View) -> tuple[str, ...]:
    found = toy_names(type_url, view)
    if type_url != LISTENER:
        return found

    def is_quiet(port: int) -> bool:
        services = [view.service(host) for host in view.hosts_on_port(port)]
        return all(one is not None and one.external_name == QUIET for one in services)

    return tuple(name for name in found if not is_quiet(int(name.removeprefix("http-"))))


def memo() -> Memo:
    return Memo(derive=derive, names=names, report=lambda failed: None, answering=toy_answering, mentions=names_needed)


def refused_clusters(toy: ToyServer) -> set[str]:
    """The names of the services whose clusters are reported as rejected."""
    (state,) = toy.server.state()
    return {one.name.split("|")[3].partition(".")[0] for url, one in state.rejected if url == CLUSTER}


async def reconnect(toy: ToyServer, tap: Tap, generation: int) -> None:
    tap.cut()
    await until(lambda: tap.streams >= 2, within=30)
    await until_acknowledged(toy, generation, within=40)
    await tap.quiet()


async def in_the_middle_of(tap: Tap, type_url: str, publish: Callable[[], None]) -> None:
    """Returns once Envoy was sent what is published, before it can answer."""
    before = len(tap.responses(type_url))
    publish()
    while len(tap.responses(type_url)) == before:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0)


@both
async def test_r15_what_is_again_as_it_was_before_an_answer_that_came_too_late_is_sent_again(
    tmp_path: Path, delta: bool
) -> None:
    port, elsewhere, offset = free_port(), free_port(), timedelta()
    old, new = toy_service("users", port, "v1"), toy_service("users", port, "v2")
    async with serving(tmp_path, delta, old, now=lambda: datetime.now(UTC) + offset) as (toy, tap, _):
        tap.requests_pass.clear()
        toy.server.publish(toy_mesh(new), 2)
        await until_answers(port, "users", "v2")
        toy.server.publish(toy_mesh(old), 3)
        offset = timedelta(seconds=31)
        toy.server.publish(toy_mesh(old, toy_service("late", elsewhere, "v1")), 4)
        await until_answers(port, "users", "v1")
        tap.requests_pass.set()
        await until_answers(elsewhere, "late", "v1")
        await until_acknowledged(toy, 4)
        await tap.quiet()
        assert (await get(port, host="users"))[1] == "v1"


async def test_r46_a_good_cluster_of_a_refused_response_that_is_gone_meanwhile_is_removed(tmp_path: Path) -> None:
    port = free_port()
    good = toy_service("users", port, "v1")
    async with serving(tmp_path, True, good, memo=memo()) as (toy, tap, admin):
        await in_the_middle_of(
            tap,
            CLUSTER,
            lambda: toy.server.publish(
                toy_mesh(good, toy_service("other", port, "v1"), toy_service("bad", port, REFUSED)), 2
            ),
        )
        toy.server.publish(toy_mesh(good), 3)
        await until_acknowledged(toy, 3, within=40)
        await until(lambda: any("||other." in each for one in tap.responses(CLUSTER) for each in one.removed_resources))
        await tap.quiet()
        listed = [
            (await get(admin, f"/config_dump?resource=dynamic_{kind}_clusters"))[1] for kind in ("active", "warming")
        ]
        assert "||users." in listed[0]
        assert "||other." not in "".join(listed)


async def test_r46_a_good_listener_of_a_refused_response_that_is_gone_meanwhile_is_removed(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    good = toy_service("users", port, "v1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        async with serving(tmp_path, True, good, memo=memo()) as (toy, tap, admin):
            toy.server.publish(toy_mesh(good, toy_service("other", other, QUIET), toy_service("bad", busy, QUIET)), 2)
            await until_acknowledged(toy, 2)
            await in_the_middle_of(
                tap,
                LISTENER,
                lambda: toy.server.publish(
                    toy_mesh(good, toy_service("other", other, "v1"), toy_service("bad", busy, "v1")), 3
                ),
            )
            toy.server.publish(toy_mesh(good), 4)
            await until_acknowledged(toy, 4, within=40)
            await tap.quiet()
            _, listed = await get(admin, "/config_dump?resource=dynamic_listeners")
            assert f"http-{port}" in listed
            assert f"http-{other}" not in listed


async def test_r47_all_of_very_many_that_are_refused_one_by_one_are_reported(tmp_path: Path) -> None:
    """Envoy has no room for their names."""
    port = free_port()
    good = toy_service("users", port, "v1")
    async with serving(tmp_path, True, good, memo=memo()) as (toy, tap, _):
        bad = {f"bad{number}" for number in range(100)}
        toy.server.publish(toy_mesh(good, *(toy_service(name, port, HALF_MADE) for name in sorted(bad))), 2)
        await until_acknowledged(toy, 2, within=60)
        await tap.quiet()
        assert any(one.error_detail.message.endswith("...(truncated)") for one in tap.requests(CLUSTER))
        assert refused_clusters(toy) == bad
        assert (await get(port, host="users"))[1] == "v1"


@both
@pytest.mark.parametrize("had", [False, True], ids=["new", "changed"])
async def test_r47_a_refused_cluster_is_reported_on_the_next_stream_too(tmp_path: Path, delta: bool, had: bool) -> None:
    port = free_port()
    good = toy_service("users", port, "v1")
    async with serving(tmp_path, delta, good, memo=memo()) as (toy, tap, _):
        if had:
            toy.server.publish(toy_mesh(good, toy_service("bad", port, "v1"), toy_service("worse", port, "v1")), 2)
            await until_acknowledged(toy, 2)
            await until_answers(port, "bad", "v1")
        bad = [toy_service(name, port, HALF_MADE) for name in ("bad", "worse")]
        toy.server.publish(toy_mesh(good, *bad), 3)
        await until_acknowledged(toy, 3, within=40)
        await tap.quiet()
        assert refused_clusters(toy) == {"bad", "worse"}
        await reconnect(toy, tap, 3)
        assert refused_clusters(toy) == {"bad", "worse"}
        toy.server.publish(toy_mesh(good, *(toy_service(name, port, "v1") for name in ("bad", "worse"))), 4)
        await until_answers(port, "bad", "v1")
        await until_acknowledged(toy, 4)
        assert refused_clusters(toy) == set()


async def test_r46_a_refused_cluster_that_went_and_comes_back_is_refused_again(tmp_path: Path) -> None:
    port = free_port()
    good, bad = toy_service("users", port, "v1"), toy_service("bad", port, HALF_MADE)
    async with serving(tmp_path, True, good, memo=memo()) as (toy, tap, _):
        for generation, services in enumerate([(good, bad), (good,), (good, bad)], start=2):
            toy.server.publish(toy_mesh(*services), generation)
            await until_acknowledged(toy, generation, within=40)
            await tap.quiet()
            assert refused_clusters(toy) == ({"bad"} if bad in services else set())
