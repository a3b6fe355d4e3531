"""A leader that asks replicas over real TLS: what counts, for how long, and what is no answer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from heddle.cluster import peers as module
from heddle.cluster.admin_protocol import PROGRESS_PATH, TOKEN_HEADER
from heddle.cluster.peers import Peers
from heddle.cluster.replica_progress import to_json, to_progress
from heddle.cluster.webhook_certificate import WebhookCertificate
from model.mesh import Mesh
from model.pods import ContainerPort, Pod
from model.problems import ObjectRef
from sds.authority import Authority, create_authority
from sources.kubernetes.object_status import ObjectStatuses, ObservedStatus
from tests.unit.heddle.cluster.test_replica_progress import observed, stream

NAMESPACE, NAME = "heddle-system", "heddle.heddle-system.svc"
TIMEOUT_SECONDS = 20.0


def now() -> datetime:
    return datetime.now(UTC)


def new_authority() -> Authority:
    return create_authority(trust_domain="a.b", now=now()).authority


class FakeReplica:
    """A replica that has `statuses`, and a sidecar that acknowledged `generation`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = f"{name}-1"
        self.statuses = ObjectStatuses()
        self.generation = 1
        self.port = 0
        self.asked: list[dict[str, str]] = []
        self.answer: Callable[[], Any] | None = None

    def has(self, *names: str) -> None:
        self.statuses.update({observed(name).ref: observed(name) for name in names}, self.generation)

    async def tell(self, request: web.Request) -> web.Response:
        self.asked.append({**request.query, "token": request.headers.get(TOKEN_HEADER, "")})
        if self.answer is not None:
            return await self.answer()  # type: ignore[no-any-return]
        process, after = request.query["process"], int(request.query["after"])
        streams = [stream(self.generation)]
        told = to_progress(self.process, streams, self.statuses, known_process=process, known_change=after)
        return web.json_response(to_json(told))

    def pod(self) -> Pod:
        return pod(self.name, self.port)


def pod(name: str, port: int, uid: str = "") -> Pod:
    return Pod(
        ref=ObjectRef(kind="Pod", namespace=NAMESPACE, name=name),
        uid=uid or f"uid-{name}",
        labels={"app.kubernetes.io/name": "heddle", "heddle.io/revision": "heddle"},
        service_account="heddle",
        addresses=("127.0.0.1",),
        ports=(ContainerPort(number=port, name="admin"),),
    )


class Scene:
    def __init__(self, token: Path) -> None:
        self.authority = new_authority()
        self.pods: list[Pod] = [pod("heddle-a", 1)]
        self.peers = Peers(
            mesh=lambda: Mesh(pods={(each.ref.namespace, each.ref.name): each for each in self.pods}),
            namespace=NAMESPACE,
            own_pod="heddle-a",
            token=token,
            roots=lambda: self.authority.trust_bundle,
            server_name=NAME,
            objects=lambda: 10,
            jitter=lambda: 0.0,
            every_seconds=0.01,
            answer_seconds=0.5,
            fresh_seconds=1.0,
        )

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():  # noqa: ASYNC110 - conditions are of several things that tell nobody
                await asyncio.sleep(0.01)

    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        others = self.peers.others()
        return tuple(each.replica for each in others.states), others.unasked

    def known(self) -> dict[str, int]:
        return {
            ref.name: each.generation for state in self.peers.others().states for ref, each in state.objects.items()
        }


@asynccontextmanager
async def serving(replica: FakeReplica, authority: Authority, name: str = NAME) -> AsyncIterator[None]:
    certificate = WebhookCertificate(lambda: authority, dns_names=(name,), host="", now=now)
    app = web.Application()
    app.router.add_get(PROGRESS_PATH, replica.tell)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", replica.port, ssl_context=certificate.tls, reuse_address=True)
    await site.start()
    replica.port = runner.addresses[0][1]
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(folder: Path, *replicas: FakeReplica) -> AsyncIterator[Scene]:
    (folder / "token").write_text("t-1\n")
    scene = Scene(folder / "token")
    async with AsyncExitStack() as opened:
        for each in replicas:
            await opened.enter_async_context(serving(each, scene.authority))
            scene.pods.append(each.pod())
        task = asyncio.create_task(scene.peers.run())
        try:
            yield scene
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_all_but_itself_are_asked_with_the_token_of_the_moment(tmp_path: Path) -> None:
    one, two = FakeReplica("heddle-b"), FakeReplica("heddle-c")
    async with asking(tmp_path, one, two) as scene:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await scene.peers.asked()
        assert scene.names() == (("heddle-b", "heddle-c"), ())
        assert one.asked[0]["token"] == "t-1"
        (tmp_path / "token").write_text("t-2\n")
        await scene.until(lambda: one.asked[-1]["token"] == two.asked[-1]["token"] == "t-2")


async def test_objects_are_told_once_and_a_new_process_begins_anew(tmp_path: Path) -> None:
    replica = FakeReplica("heddle-b")
    replica.has("x", "y")
    async with asking(tmp_path, replica) as scene:
        await scene.until(lambda: scene.known() == {"x": 1, "y": 1})
        await scene.until(lambda: replica.asked[-1]["after"] == "2")
        revision = scene.peers.revision
        count = len(replica.asked)
        await scene.until(lambda: len(replica.asked) > count + 3)
        assert scene.peers.revision == revision, "nothing new was told"
        replica.process, replica.statuses = "heddle-b-2", ObjectStatuses()
        replica.has("z")
        await scene.until(lambda: scene.known() == {"z": 1})


async def test_more_objects_than_an_answer_has_come_with_the_next(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("heddle.cluster.replica_progress.OBJECTS_AT_ONCE", 3)
    replica = FakeReplica("heddle-b")
    replica.has(*(f"o{number}" for number in range(8)))
    async with asking(tmp_path, replica) as scene:
        await scene.until(lambda: len(scene.known()) == 8)
        assert [each["after"] for each in replica.asked[:3]] == ["0", "3", "6"]


async def test_what_was_deleted_there_is_not_kept_for_ever(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_LEFTOVER_OBJECTS", 5)
    replica = FakeReplica("heddle-b")
    replica.has("stays")
    async with asking(tmp_path, replica) as scene:
        for number in range(30):
            ref, item = observed(f"o{number}").ref, observed(f"o{number}")
            changes: dict[ObjectRef, ObservedStatus | None] = {ref: item}
            replica.statuses.update(changes, 1)
            count = len(replica.asked)
            await scene.until(lambda count=count: len(replica.asked) > count + 1)
            replica.statuses.update({ref: None}, 1)
        assert len(scene.known()) <= 10 + 5 + 1
        await scene.until(lambda: "stays" in scene.known())


async def test_an_answer_counts_for_a_while_and_then_no_more(tmp_path: Path) -> None:
    replica = FakeReplica("heddle-b")

    async def never() -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with asking(tmp_path, replica) as scene:
        await scene.until(lambda: scene.names() == (("heddle-b",), ()))
        replica.answer = never
        count = len(replica.asked)
        await scene.until(lambda: len(replica.asked) > count)
        assert scene.names() == (("heddle-b",), ())
        await scene.until(lambda: scene.names() == ((), ("heddle-b",)))
        replica.answer = None
        await scene.until(lambda: scene.names() == (("heddle-b",), ()))
        scene.pods.pop()
        assert scene.names() == ((), ())


async def test_what_is_no_answer(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER", 4096)
    replica = FakeReplica("heddle-b")

    def answers(**answer: Any) -> Callable[[], Any]:
        async def give() -> web.Response:
            return web.Response(**answer)

        return give

    async with asking(tmp_path) as scene, serving(replica, scene.authority):
        for answer in (
            answers(status=403, text="no"),
            answers(status=302, headers={"Location": "https://elsewhere.invalid/"}),
            answers(text="no json"),
            answers(text="[" * 4000),
            answers(text="{}"),
            answers(text='"' + "x" * 5000 + '"'),
        ):
            replica.answer, count = answer, len(replica.asked)
            scene.pods[1:] = [pod("heddle-b", replica.port)]
            await scene.until(lambda count=count: len(replica.asked) > count + 1)
            assert scene.names() == ((), ("heddle-b",))
        replica.answer = None
        await scene.until(lambda: scene.names() == (("heddle-b",), ()))


async def test_a_token_is_shown_to_nobody_but_a_control_plane(tmp_path: Path) -> None:
    forged, misnamed = FakeReplica("heddle-b"), FakeReplica("heddle-c")
    async with (
        asking(tmp_path) as scene,
        serving(forged, new_authority()),
        serving(misnamed, scene.authority, "web.shop.svc"),
    ):
        scene.pods += [forged.pod(), misnamed.pod(), pod("heddle-d", 1)]
        scene.peers.forget()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await scene.peers.asked()
        assert scene.names() == ((), ("heddle-b", "heddle-c", "heddle-d"))
        assert forged.asked == misnamed.asked == []


async def test_without_a_token_nobody_is_asked(tmp_path: Path) -> None:
    replica = FakeReplica("heddle-b")
    async with asking(tmp_path, replica) as scene:
        await scene.until(lambda: replica.asked)
        (tmp_path / "token").unlink()
        await scene.until(lambda: scene.names() == ((), ("heddle-b",)))


def test_a_context_asks_for_a_good_certificate() -> None:
    scene = Scene(Path("/none"))
    context = scene.peers._tls()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert scene.peers._tls() is context
    scene.authority = new_authority()
    assert scene.peers._tls() is not context
