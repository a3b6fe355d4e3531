"""The writer against one small API server, with a source that follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from heddle.cluster.object_conditions import Refusal
from heddle.cluster.peers import Others, PeerState
from heddle.cluster.replica_progress import Acknowledgements, RejectedAt
from heddle.cluster.status_writer import StatusWriter
from model.asker import Asker
from protos.type_urls import VIRTUAL_HOST
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from tests.kubernetes_api.following import Following, following
from tests.kubernetes_api.objects import Json, changed, destination_rule, namespace, service, virtual_service
from tests.kubernetes_api.server import FakeApiServer, Refuse, running
from xds.state import RejectedResource, StreamProgress

TIMEOUT_SECONDS = 20.0
ROUTES = "virtualservices.networking.istio.io"
HOST = "web.shop.svc.cluster.local"


class Clock:
    def __init__(self) -> None:
        self.hour = 0

    def __call__(self) -> datetime:
        return datetime(2026, 1, 1, self.hour, tzinfo=UTC)


class Scene:
    """`streams` is what the sidecars say."""

    def __init__(self, server: FakeApiServer, found: Following) -> None:
        self.server = server
        self.found = found
        self.streams: list[StreamProgress] = []
        self.clock = Clock()

    @property
    def generation(self) -> int:
        return self.found.store.generation

    def connect(self, generation: int, *rejected: tuple[str, RejectedResource]) -> None:
        asker = Asker(namespace="shop", pod=f"web-{len(self.streams)}", service_account="web")
        self.streams.append(StreamProgress(asker=asker, acknowledged_generation=generation, rejected=rejected))

    def status(self, name: str, resource: str = ROUTES) -> dict[str, Json]:
        held = self.server.snapshot()[1][resource][f"shop/{name}"]
        return {each["type"]: each for each in held.get("status", {}).get("conditions", ())}

    def said(self, name: str, kind: str) -> tuple[str, str]:
        found = self.status(name).get(kind, {})
        return found.get("status", ""), found.get("reason", "")

    @property
    def writes(self) -> int:
        return sum("/status?" in path for path in self.server.requests)

    async def until(self, condition: Callable[[], object]) -> None:
        await self.found.until(condition)

    async def quiet(self, looks: int = 3) -> None:
        """Returns after so many looks of a writer that has nothing to do."""
        await self.found.catch_up()
        for _ in range(looks):
            await asyncio.sleep(0.02)


class ToldByTest:
    """Peers that say what a test says, once `ready`."""

    own_pod = "heddle-a"

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.revision = 0
        self.told = Others()
        self.forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1

    async def asked(self) -> None:
        await self.ready.wait()

    def others(self) -> Others:
        return self.told

    async def run(self) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def scene(folder: Path, *objects: Json, server: FakeApiServer | None = None) -> AsyncIterator[Scene]:
    server = server or FakeApiServer()
    for item in (namespace("shop"), service("web"), *objects):
        server.put(item)
    async with running(server), following(server) as found:
        yield Scene(server, found)


@asynccontextmanager
async def writing(
    scene: Scene,
    folder: Path,
    *,
    per_second: float = 1000.0,
    burst: float = 1000.0,
    peers: ToldByTest | None = None,
    settle_seconds: float = 0.0,
) -> AsyncIterator[None]:
    access = ClusterAccess(kubeconfig=scene.server.write_kubeconfig(folder / "writer"))
    async with open_api(access) as api:
        writer = StatusWriter(
            api=api,
            store=scene.found.store,
            statuses=scene.found.source.statuses,
            progress=lambda: scene.streams,
            now=scene.clock,
            jitter=lambda: 0.0,
            per_second=per_second,
            burst=burst,
            look_seconds=0.01,
            settle_seconds=settle_seconds,
            peers=peers,  # type: ignore[arg-type]
        )
        task = asyncio.create_task(writer.run())
        try:
            yield
        finally:
            if not task.done():
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_an_object_is_told_what_became_of_it_and_then_no_more(tmp_path: Path) -> None:
    async with scene(tmp_path, virtual_service("web")) as found, writing(found, tmp_path):
        found.connect(found.generation)
        await found.until(lambda: found.said("web", "Programmed") == ("True", "Acknowledged"))
        assert found.said("web", "Accepted") == ("True", "Accepted")
        assert found.said("web", "Conflicted") == ("False", "NoConflicts")
        held = found.server.snapshot()[1][ROUTES]["shop/web"]
        assert held["status"]["observedGeneration"] == held["metadata"]["generation"] == 1
        await found.quiet()
        writes, generation, mesh = found.writes, found.generation, found.found.store.mesh
        found.connect(-1)
        await found.quiet()
        assert (found.writes, found.generation) == (writes, generation), "a status makes nothing new"
        assert found.found.store.mesh is mesh


async def test_what_is_in_force_of_a_refused_object_is_told(tmp_path: Path) -> None:
    bad = virtual_service("known", timeout="soon")
    async with scene(tmp_path, virtual_service("known"), virtual_service("new", timeout="soon")) as found:
        found.connect(found.generation)
        async with writing(found, tmp_path):
            await found.until(lambda: found.said("new", "Programmed") == ("False", "NotAccepted"))
            assert found.status("new")["Programmed"]["message"] == str(Refusal.NONE)
            found.server.put(bad)
            await found.until(lambda: found.said("known", "Programmed") == ("False", "NotAccepted"))
            assert found.status("known")["Programmed"]["message"] == str(Refusal.EARLIER)


async def test_an_object_of_which_a_part_is_in_force_is_not_called_refused(tmp_path: Path) -> None:
    partly = virtual_service("partly")
    partly["spec"]["gateways"] = ["mesh", "shop/nowhere"]
    async with scene(tmp_path, partly) as found, writing(found, tmp_path):
        found.connect(found.generation)
        await found.until(lambda: found.said("partly", "Accepted") == ("False", "UnknownGateway"))
        await found.until(lambda: found.said("partly", "Programmed") == ("False", "NotAccepted"))
        assert "or the part that the condition Accepted names" in found.status("partly")["Programmed"]["message"]


async def test_nothing_is_said_before_sidecars_had_time_to_connect(tmp_path: Path) -> None:
    async with scene(tmp_path, virtual_service("web")) as found, writing(found, tmp_path, settle_seconds=0.3):
        await asyncio.sleep(0.1)
        assert found.writes == 0
        found.connect(found.generation)
        await found.until(lambda: found.said("web", "Programmed") == ("True", "Acknowledged"))
        assert found.writes == 1, "what it says first is what stays"


async def test_who_begins_finds_what_is_there(tmp_path: Path) -> None:
    async with scene(tmp_path, virtual_service("web"), destination_rule("web")) as found:
        found.connect(found.generation)
        async with writing(found, tmp_path):
            await found.until(lambda: found.said("web", "Programmed")[0] == "True")
            await found.until(lambda: found.status("web", "destinationrules.networking.istio.io"))
            await found.quiet()
        writes = found.writes
        found.clock.hour = 5
        async with writing(found, tmp_path):
            await found.quiet()
        assert found.writes == writes


async def test_only_what_changes_gets_a_new_instant(tmp_path: Path) -> None:
    async with scene(tmp_path, virtual_service("web")) as found, writing(found, tmp_path):
        found.connect(found.generation)
        await found.until(lambda: found.said("web", "Programmed")[0] == "True")
        found.clock.hour = 5
        found.server.put(changed(found.server.snapshot()[1][ROUTES]["shop/web"], hosts=["a..b"]))
        await found.until(lambda: found.said("web", "Accepted") == ("False", "InvalidHost"))
        instants = {kind: said["lastTransitionTime"] for kind, said in found.status("web").items()}
        assert instants == {
            "Accepted": "2026-01-01T05:00:00Z",
            "Conflicted": "2026-01-01T00:00:00Z",
            "Programmed": "2026-01-01T05:00:00Z",
        }
        assert all(said["observedGeneration"] == 2 for said in found.status("web").values())


async def test_a_rejection_and_the_loser_of_two_are_told(tmp_path: Path) -> None:
    older, newer = virtual_service("web"), virtual_service("late", created="2026-02-01")
    async with scene(tmp_path, older, newer) as found, writing(found, tmp_path):
        refused = RejectedResource(name=f"80/{HOST}:80", version="1", message="[the copy]\n: no such thing")
        found.connect(found.generation, (VIRTUAL_HOST, refused))
        await found.until(lambda: found.said("web", "Programmed") == ("False", "Rejected"))
        assert found.status("web")["Programmed"]["message"].endswith(f"shop/web-0: 80/{HOST}:80: no such thing")
        await found.until(lambda: found.said("late", "Conflicted") == ("True", "ConflictingHosts"))
        assert found.said("web", "Conflicted") == ("False", "NoConflicts")


async def test_a_new_generation_waits_for_the_sidecars_that_have_the_one_before(tmp_path: Path) -> None:
    async with scene(tmp_path, virtual_service("web")) as found, writing(found, tmp_path):
        found.connect(found.generation)
        await found.until(lambda: found.said("web", "Programmed")[0] == "True")
        before = found.generation
        found.server.put(virtual_service("web", "7s"))
        await found.until(lambda: found.said("web", "Programmed") == ("False", "Pending"))
        assert found.generation == before + 1
        found.streams.clear()
        found.connect(found.generation)
        await found.until(lambda: found.said("web", "Programmed") == ("True", "Acknowledged"))


@pytest.mark.parametrize("status", [429, 500, 403])
async def test_an_api_server_that_refuses_is_asked_again(tmp_path: Path, status: int) -> None:
    async with scene(tmp_path, virtual_service("web")) as found:
        found.server.refuse[f"{ROUTES}/status"] = Refuse(status)
        async with writing(found, tmp_path):
            await found.until(lambda: found.writes)
            del found.server.refuse[f"{ROUTES}/status"]
            await found.until(lambda: found.said("web", "Accepted") == ("True", "Accepted"))


async def test_an_object_without_a_status_is_left_alone(tmp_path: Path) -> None:
    async with scene(tmp_path, virtual_service("web")) as found:
        found.server.refuse[f"{ROUTES}/status"] = Refuse(404)
        async with writing(found, tmp_path):
            await found.until(lambda: found.writes)
            await found.quiet()
            assert found.writes == 1


async def test_what_the_server_prunes_is_not_written_again_and_again(tmp_path: Path) -> None:
    """Istio's older definitions know no generation in a condition."""
    server = FakeApiServer()
    server.prune_status = lambda status: {
        "conditions": [
            {name: value for name, value in each.items() if name != "observedGeneration"}
            for each in status["conditions"]
        ]
    }
    async with scene(tmp_path, virtual_service("web"), server=server) as found, writing(found, tmp_path):
        found.connect(found.generation)
        await found.until(lambda: found.said("web", "Programmed")[0] == "True")
        await found.quiet(10)
        assert found.writes <= 2


async def test_a_status_that_somebody_wiped_is_written_again(tmp_path: Path) -> None:
    async with scene(tmp_path, virtual_service("web")) as found, writing(found, tmp_path):
        found.connect(found.generation)
        await found.until(lambda: found.said("web", "Programmed")[0] == "True")
        await found.quiet()
        held = found.server.snapshot()[1][ROUTES]["shop/web"]
        found.server.put({**held, "status": {"conditions": [{"type": "Odd", "status": "True"}]}})
        await found.until(lambda: found.said("web", "Accepted") == ("True", "Accepted"))


async def test_many_are_written_at_a_bounded_rate(tmp_path: Path) -> None:
    objects = [virtual_service(f"r{number}", host=f"h{number}.example") for number in range(30)]
    async with scene(tmp_path, *objects) as found:
        began = asyncio.get_running_loop().time()
        async with writing(found, tmp_path, per_second=50.0, burst=5):
            await found.until(lambda: all(found.status(f"r{number}") for number in range(30)))
        # The bucket's own arithmetic is tested with its own clock: here only that it is asked.
        assert asyncio.get_running_loop().time() - began >= 25 / 50.0
        assert found.writes == 30


async def test_a_server_that_goes_away_is_survived(tmp_path: Path) -> None:
    async with scene(tmp_path, virtual_service("web")) as found, writing(found, tmp_path):
        await found.until(lambda: found.said("web", "Accepted")[0] == "True")
        await found.server.stop()
        found.connect(found.generation)
        await asyncio.sleep(0.05)
        await found.server.start()
        await found.until(lambda: found.said("web", "Programmed")[0] == "True")


async def test_nothing_is_said_before_the_others_were_asked_and_then_of_all(tmp_path: Path) -> None:
    peers = ToldByTest()
    async with scene(tmp_path, virtual_service("web")) as found, writing(found, tmp_path, peers=peers):
        found.connect(found.generation)
        await found.quiet()
        assert (found.writes, peers.forgotten) == (0, 1)
        peers.told = Others(unasked=("heddle-b",))
        peers.ready.set()
        await found.until(lambda: found.said("web", "Programmed") == ("Unknown", "ReplicasNotAsked"))
        (held,) = found.found.source.statuses.changed_after(0, 10)
        asker = Asker(namespace="shop", pod="far", service_account="web")
        refused = RejectedAt(asker=asker, type_url=VIRTUAL_HOST, resource=f"80/{HOST}:80", words="no")
        there = PeerState(
            replica="heddle-b",
            acknowledged=Acknowledgements(steps=((held.since, 1),)),
            rejections=(refused,),
            objects={held.ref: held},
        )
        peers.told, peers.revision = Others(states=(there,)), 1
        await found.until(lambda: found.said("web", "Programmed") == ("False", "Rejected"))
        assert "shop/far (at heddle-b)" in found.status("web")["Programmed"]["message"]
        peers.told, peers.revision = Others(states=(replace(there, rejections=()),)), 2
        await found.until(lambda: found.said("web", "Programmed") == ("True", "Acknowledged"))
        assert found.status("web")["Programmed"]["message"] == "All 2 connected sidecars have acknowledged it."
