"""What a real Envoy and the server say to each other, message by message, on both variants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from model.mesh import Mesh
from model.services import Service
from protos.type_urls import CLUSTER, ENDPOINT, ROUTE, VIRTUAL_HOST
from tests.envoy.xds_tap import Request, Response, Tap, tapped
from tests.envoy.xds_toy import (
    BAD_CLUSTER,
    NO_ASSIGNMENT,
    SLOW_CLUSTER,
    ToyServer,
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
from xds.events import Event
from xds.protocol import ANSWER_WITHIN

pytestmark = pytest.mark.envoy
BOTH = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
WARMING = "cluster_manager.warming_clusters"


@asynccontextmanager
async def serving(
    directory: Path, delta: bool, *services: Service, **options: Any
) -> AsyncIterator[tuple[ToyServer, Tap, int]]:
    """A server and an Envoy that has all of the first snapshot, with a tap between; Envoy's admin port."""
    events: list[Event] = []
    async with toy_server(events, **options) as toy, tapped(toy.port) as tap:
        toy.server.publish(toy_mesh(*services), 1)
        async with running_envoy(directory, ads_port=tap.port, delta=delta) as admin:
            last = services[-1]
            await until_answers(last.ports[0].number, last.ref.name, last.external_name)
            await until_acknowledged(toy, 1)
            await tap.quiet(0.1)
            yield toy, tap, admin


async def until_said(tap: Tap, type_url: str, count: int) -> None:
    """Waits for so many responses of that type."""
    await until(lambda: len(tap.responses(type_url)) >= count)


def names(response: Any, delta: bool) -> list[str]:
    """The resources of a response, by name."""
    if delta:
        return [one.name for one in response.resources]
    return [_name(one.type_url, one.value) for one in response.resources]


def _name(type_url: str, body: bytes) -> str:
    """Of the types here, the name is the first field."""
    assert body[0] == 0x0A, type_url
    return body[2 : 2 + body[1]].decode()


@BOTH
async def test_r11_r12_a_refused_set_is_not_sent_again(tmp_path: Path, delta: bool) -> None:
    """Not even where its type changes for another reason; state of the world puts back what Envoy has."""
    port = free_port()
    good = toy_service("users", port, "v1")
    async with serving(tmp_path, delta, good) as (toy, tap, _):
        bad, fine = toy_service("bad", port, BAD_CLUSTER), toy_service("fine", port, "v1")
        toy.server.publish(toy_mesh(good, bad, fine), 2)
        await until_answers(port, "fine", "v1")
        await until_acknowledged(toy, 2)
        await tap.quiet()
        refused = [one for one in tap.requests(CLUSTER) if one.HasField("error_detail")]
        assert refused
        if not delta:  # its version says what it has, not what it refuses
            assert {one.version_info for one in refused} == {tap.responses(CLUSTER)[0].version_info}
        toy.server.publish(toy_mesh(good, bad, fine, toy_service("late", port, "v1")), 3)
        await until_answers(port, "late", "v1")
        await until_acknowledged(toy, 3)
        await tap.quiet()
        by_nonce = {one.nonce: _contents(one) for one in tap.responses(CLUSTER)}
        sent = list(by_nonce.values())
        for one in refused:
            assert sent.count(by_nonce[one.response_nonce]) == 1


def _contents(response: Any) -> bytes:
    """A response without its nonce."""
    copy = type(response)()
    copy.CopyFrom(response)
    copy.nonce = ""
    return bytes(copy.SerializeToString(deterministic=True))


async def test_r14_r15_sotw_a_late_word_on_an_accepted_response_and_acceptances_that_never_come(tmp_path: Path) -> None:
    """While clusters warm, Envoy's word on the one before waits, and goes out on the newest: with a text that is not
    about that."""
    port = free_port()
    good = toy_service("users", port, "v1")
    clock = [timedelta(0)]

    def now() -> datetime:
        return datetime.now(UTC) + clock[0]

    async with serving(tmp_path, False, good, now=now) as (toy, tap, admin):
        cold, mended = toy_service("cold", port, NO_ASSIGNMENT), toy_service("bad", port, "mended")
        asked = len(tap.requests(CLUSTER))
        toy.server.publish(toy_mesh(good, cold), 2)
        await until_said(tap, CLUSTER, 2)
        for generation, changed in ((3, toy_service("bad", port, BAD_CLUSTER)), (4, mended)):
            # It says nothing, and is not waited for for ever.
            await tap.quiet(0.2)
            assert len(tap.requests(CLUSTER)) == asked
            clock[0] += ANSWER_WITHIN
            toy.server.publish(toy_mesh(good, cold, changed), generation)
            await until_said(tap, CLUSTER, generation)
        newest = tap.responses(CLUSTER)[-1]
        toy.server.publish(toy_mesh(good, toy_service("cold", port, "v1"), mended), 5)
        await until_answers(port, "bad", "mended")
        await until_acknowledged(toy, 5)
        await tap.quiet()
        words = tap.requests(CLUSTER)[asked:]
        assert [(one.response_nonce, one.version_info) for one in words] == [(newest.nonce, newest.version_info)]
        assert "connect_timeout" in words[0].error_detail.message.lower()
        assert tap.responses(CLUSTER)[-1] is newest
        assert not toy.server.state()[0].rejected
        assert (await stats(admin, WARMING))[WARMING] == 0


@BOTH
async def test_r16_names_count_though_their_request_crossed_a_response(tmp_path: Path, delta: bool) -> None:
    port = free_port()
    users = toy_service("users", port, "v1")
    async with serving(tmp_path, delta, users) as (toy, tap, admin):
        tap.requests_pass.clear()
        new = toy_service("new", port, "v1")
        asked, said = len(tap.requests(ENDPOINT)), len(tap.responses(ENDPOINT))
        toy.server.publish(toy_mesh(users, new), 2)
        await until(lambda: len(tap.requests(ENDPOINT)) > asked)
        # Its question for the new endpoints is under way, with the nonce of the last response; here is another.
        toy.server.publish(toy_mesh(users, new, upstreams={"users": free_port()}), 3)
        await until_said(tap, ENDPOINT, said + 1)
        tap.requests_pass.set()
        await until_answers(port, "new", "v1", within=5)
        await until_acknowledged(toy, 3)
        assert (await stats(admin, WARMING))[WARMING] == 0
        crossed = tap.requests(ENDPOINT)[asked]
        assert crossed.response_nonce != tap.responses(ENDPOINT)[said].nonce


@BOTH
async def test_r22_r23_r27_a_name_that_is_dropped_is_not_answered_and_one_that_comes_back_is(
    tmp_path: Path, delta: bool
) -> None:
    port = free_port()
    users, passing = toy_service("users", port, "v1"), toy_service("passing", port, "v1")
    cluster = f"outbound|{port}||{passing.host}"
    async with serving(tmp_path, delta, users, passing) as (toy, tap, admin):
        said = len(tap.responses(ENDPOINT))
        toy.server.publish(toy_mesh(users), 2)
        await until_acknowledged(toy, 2)
        await tap.quiet()
        last = tap.requests(ENDPOINT)[-1]
        assert cluster in last.resource_names_unsubscribe if delta else cluster not in last.resource_names
        assert len(tap.responses(ENDPOINT)) == said
        (known,) = [one for one in toy.server.state()[0].types if one.type_url == ENDPOINT]
        assert cluster not in known.names
        toy.server.publish(toy_mesh(users, passing), 3)
        await until_answers(port, "passing", "v1", within=5)
        await until_acknowledged(toy, 3)
        assert (await stats(admin, WARMING))[WARMING] == 0
        assert [names(one, delta) for one in tap.responses(ENDPOINT)[said:]] == [[cluster]]


async def test_r19_sotw_of_requests_that_come_together_the_newest_alone_is_answered(tmp_path: Path) -> None:
    port = free_port()
    services = [toy_service("users", port, "v1")]
    async with serving(tmp_path, False, *services) as (toy, tap, admin):
        asked, said = len(tap.requests(ENDPOINT)), len(tap.responses(ENDPOINT))
        tap.requests_pass.clear()
        toy.server.publish(toy_mesh(*services, toy_service("new", port, "v1"), upstreams={"users": free_port()}), 2)
        await until(lambda: len(tap.requests(ENDPOINT)) > asked and len(tap.responses(ENDPOINT)) > said)
        await tap.quiet(0.2)  # of those that wait, the tap has read one
        assert len(tap.responses(ENDPOINT)) == said + 1
        tap.requests_pass.set()
        await until_answers(port, "new", "v1", within=5)
        await until_acknowledged(toy, 2)
        await tap.quiet()
        assert (await stats(admin, WARMING))[WARMING] == 0
        assert len(tap.requests(ENDPOINT)) > asked + 2
        assert len(tap.responses(ENDPOINT)) == said + 2


async def test_r20_r41_sotw_a_request_that_is_repeated_after_a_changed_cluster_is_answered_once(tmp_path: Path) -> None:
    """Envoy repeats word for word what it said of endpoints; those are on their way already."""
    port = free_port()
    async with serving(tmp_path, False, toy_service("users", port, "v1")) as (toy, tap, admin):
        before, said = tap.requests(ENDPOINT)[-1], len(tap.responses(ENDPOINT))
        toy.server.publish(toy_mesh(toy_service("users", port, SLOW_CLUSTER)), 2)
        await until_acknowledged(toy, 2)
        await tap.quiet()
        assert before in tap.requests(ENDPOINT)[2:]
        assert len(tap.responses(ENDPOINT)) == said + 1
        assert (await stats(admin, WARMING))[WARMING] == 0


async def test_r31_sotw_who_needs_no_endpoints_any_more_asks_for_none_and_gets_none(tmp_path: Path) -> None:
    port = free_port()
    users = toy_service("users", port, "v1")
    async with serving(tmp_path, False, users) as (toy, tap, _):
        toy.server.publish(toy_mesh(), 2)
        await until_acknowledged(toy, 2)
        tap.cut()
        await until(lambda: tap.streams > 1, within=30)
        await until_acknowledged(toy, 2, within=30)
        await tap.quiet()
        (asked,) = tap.requests(ENDPOINT, stream=2)
        assert (list(asked.resource_names), asked.response_nonce) == ([], "")
        assert not tap.responses(ENDPOINT, stream=2)
        toy.server.publish(toy_mesh(users), 3)
        await until_answers(port, "users", "v1")


async def test_r26_sotw_one_changed_table_comes_alone(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    users, other = toy_service("users", first, "v1"), toy_service("other", second, "v1")
    async with serving(tmp_path, False, users, other) as (toy, tap, _):
        toy.server.publish(toy_mesh(toy_service("users", first, "v2"), other), 2)
        await until_answers(first, "users", "v2")
        await until_acknowledged(toy, 2)
        assert await get(second, host="other") == (200, "v1")
        assert names(tap.responses(ROUTE)[-1], False) == [str(first)]


@BOTH
async def test_r28_r36_r37_nothing_unasked_nothing_twice_and_no_end_of_what_never_was(
    tmp_path: Path, delta: bool
) -> None:
    """Of every message while services come, change and go faster than Envoy answers."""
    port, other = free_port(), free_port()

    def mesh(turn: int) -> Mesh:
        some = [toy_service(f"s{number}", port, f"v{turn}") for number in range(6) if (turn >> number % 3) & 1]
        late = [toy_service("late", other, "v1")] if turn % 3 == 0 else []
        return toy_mesh(toy_service("users", port, f"v{turn}"), *some, *late)

    async with serving(tmp_path, delta, toy_service("users", port, "v1")) as (toy, tap, _):
        for turn in range(2, 42):
            toy.server.publish(mesh(turn), turn)
            await asyncio.sleep(0.02)
        await until_acknowledged(toy, 41)
        await tap.quiet()
        assert await get(port, host="users") == (200, "v41")
    asked: dict[str, set[str]] = {}
    sent: dict[str, set[str]] = {}
    for _, said in tap.said:
        if isinstance(said, Request):
            more = said.resource_names_subscribe if delta else said.resource_names
            asked.setdefault(said.type_url, set()).update(more)
            continue
        assert isinstance(said, Response)
        come = names(said, delta)
        gone = list(said.removed_resources) if delta else []
        assert len({*come, *gone}) == len(come) + len(gone)
        assert {one.resource.type_url if delta else one.type_url for one in said.resources} <= {said.type_url}
        if said.type_url in (ENDPOINT, ROUTE):
            assert asked[said.type_url] >= {*come}
        # What does not exist is said to be gone to who asks for it (R33).
        assert sent.setdefault(said.type_url, set()) | asked[said.type_url] >= {*gone}
        sent[said.type_url].update(come)
    assert len(tap.said) > 100


@BOTH
async def test_r48_changes_while_a_push_is_under_way_are_one_push_more(tmp_path: Path, delta: bool) -> None:
    port = free_port()
    async with serving(tmp_path, delta, toy_service("users", port, "v1")) as (toy, tap, _):
        type_url = VIRTUAL_HOST if delta else ROUTE
        said = len(tap.responses(type_url))
        tap.requests_pass.clear()
        for generation in range(2, 12):
            toy.server.publish(toy_mesh(toy_service("users", port, f"v{generation}")), generation)
            await asyncio.sleep(0.01)
        await until_answers(port, "users", "v2")
        await tap.quiet(0.2)
        assert len(tap.responses(type_url)) == said + 1
        tap.requests_pass.set()
        await until_answers(port, "users", "v11")
        await until_acknowledged(toy, 11)
        await tap.quiet(0.2)
        assert len(tap.responses(type_url)) == said + 2


@BOTH
async def test_r49_without_a_change_nothing_is_said(tmp_path: Path, delta: bool) -> None:
    port = free_port()
    async with serving(tmp_path, delta, toy_service("users", port, "v1")) as (toy, tap, _):
        said = len(tap.said)
        for generation in range(2, 12):
            toy.server.publish(toy_mesh(toy_service("users", port, "v1")), generation)
        await tap.quiet()
        assert len(tap.said) == said
        await until_acknowledged(toy, 11)
