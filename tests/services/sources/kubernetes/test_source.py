"""A cluster as a source, against a fake API server over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from model.problem_codes import ProblemCode
from model.problems import ObjectRef
from model.services import Locality
from sources.kubernetes.resources import Scope
from sources.kubernetes.source import KubernetesSource
from tests.kubernetes_api import objects
from tests.kubernetes_api.following import Following, beginning, following
from tests.kubernetes_api.server import TOKEN, FakeApiServer, Refuse, running

ROUTES = "virtualservices.networking.istio.io"
WEB = "web.shop.svc.cluster.local"


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with running(FakeApiServer()) as found:
        yield found


def services(found: Following) -> list[str]:
    return [host.partition(".")[0] for host in found.store.mesh.services]


def timeouts(found: Following) -> dict[str, str]:
    listed = (rule for rules in found.store.mesh.virtual_services.values() for rule in rules)
    return {rule.ref.name: str(rule.http[0].timeout) for rule in listed}


def codes(found: Following) -> list[str]:
    return [problem.code for problem in found.store.problems if problem.severity == "error"]


async def test_everything_is_there_at_once_and_not_before(server: FakeApiServer) -> None:
    server.put(objects.service("web"))
    server.put(objects.virtual_service("web"))
    server.refuse["pods"] = Refuse(403, "pods is forbidden")
    async with beginning(server) as found:
        await found.until(lambda: len(found.source.pending) == 1 and "forbidden" in found.source.pending[0])
        assert services(found) == []
        assert found.source.pending == (f"pods of {found.source.name}: pods cannot be read: pods is forbidden",)
        assert codes(found) == [ProblemCode.SOURCE_UNREACHABLE]
        assert [problem.fix for problem in found.store.problems] == [
            "Grant list and watch on pods to Heddle's account."
        ]
        generations = []
        found.store.on_change(lambda: generations.append(found.store.generation))
        del server.refuse["pods"]
        await found.source.synced()
        assert (services(found), timeouts(found)) == (["web"], {"web": "0:00:01"})
        assert (found.source.pending, codes(found), generations) == ((), [], [1])


async def test_changes_come_without_a_list(server: FakeApiServer) -> None:
    async with following(server) as found:
        await found.until(lambda: server.watchers(ROUTES) and server.watchers("services"))
        lists = sum("limit=500" in each for each in server.requests)
        server.put(objects.service("web"))
        server.put(objects.virtual_service("web", "1s"))
        await found.until(lambda: timeouts(found) == {"web": "0:00:01"})
        server.put(objects.virtual_service("web", "2s"))
        await found.until(lambda: timeouts(found) == {"web": "0:00:02"})
        server.delete(objects.virtual_service("web"))
        await found.until(lambda: timeouts(found) == {})
        assert sum("limit=500" in each for each in server.requests) == lists


async def test_many_pages_are_one_list(server: FakeApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sources.kubernetes.reflector.PAGE", 3)
    for number in range(10):
        server.put(objects.service(f"s{number}"))
    async with following(server) as found:
        assert len(services(found)) == 10


async def test_a_list_whose_later_pages_expire_is_asked_for_whole(
    server: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sources.kubernetes.reflector.PAGE", 3)
    for number in range(10):
        server.put(objects.service(f"s{number}"))

    def compact() -> None:
        server.put(objects.namespace("other"))
        server.compact()

    server.page_hook = compact
    async with following(server) as found:
        assert len(services(found)) == 10


# Watches that end


async def resume_after_a_cut(server: FakeApiServer) -> None:
    server.cut()


async def expire_by_status(server: FakeApiServer) -> None:
    server.put(objects.namespace("other"))
    server.compact()
    server.cut()


async def expire_by_event(server: FakeApiServer) -> None:
    server.send_error("services", 410)


async def fail_by_event(server: FakeApiServer) -> None:
    server.send_error("services", 500)


async def garble(server: FakeApiServer) -> None:
    server.send("services", b"<html>\n")


async def restart(server: FakeApiServer) -> None:
    await server.stop()
    await server.start()


@pytest.mark.parametrize("end", [resume_after_a_cut, expire_by_status, expire_by_event, fail_by_event, garble, restart])
async def test_what_happened_in_the_gap_is_known_after_it(server: FakeApiServer, end) -> None:  # type: ignore[no-untyped-def]
    for name in ("kept", "changed", "deleted"):
        server.put(objects.service(name))
    async with following(server) as found:
        await found.until(lambda: server.watchers("services"))
        # Held back from the watches, as if the connection had been dead already.
        watches, server._watches = server._watches, {}
        server.delete(objects.service("deleted"))
        server.put(objects.service("changed", 81))
        server.put(objects.service("added"))
        server._watches = watches
        await end(server)
        await found.until(lambda: services(found) == ["added", "changed", "kept"])
        await found.until(lambda: server.watchers("services") == 1)
        server.put(objects.service("later"))
        await found.until(lambda: "later" in services(found))
        await found.until(lambda: codes(found) == [])


async def test_a_cut_watch_goes_on_where_it_was(server: FakeApiServer) -> None:
    server.put(objects.service("web"))
    async with following(server) as found:
        await found.until(lambda: server.watchers("services"))
        before = len(server.requests)
        server.cut()
        server.put(objects.service("later"))
        await found.until(lambda: "later" in services(found))
        later = [each for each in server.requests[before:] if each.startswith("/api/v1/services")]
        assert all(each.endswith("limit=1") or "watch=true" in each for each in later)


async def test_a_bookmark_is_where_a_watch_goes_on(server: FakeApiServer) -> None:
    async with following(server) as found:
        await found.until(lambda: server.watchers("services"))
        server.bookmark()
        server.compact()
        server.cut()
        before = len(server.requests)
        server.put(objects.service("web"))
        await found.until(lambda: services(found) == ["web"])
        assert not any(each.endswith("/services?limit=500") for each in server.requests[before:])


# The API server is away


async def test_an_outage_changes_nothing_and_is_reported(server: FakeApiServer) -> None:
    server.put(objects.service("web"))
    async with following(server) as found:
        mesh = found.store.mesh
        await server.stop()
        await found.until(lambda: codes(found) == [ProblemCode.SOURCE_UNREACHABLE])
        assert found.store.mesh is mesh
        assert found.source.pending == ()
        with pytest.raises(OSError, match="Cannot connect"):
            await found.catch_up()
        await server.start()
        server.put(objects.service("db"))
        await found.until(lambda: services(found) == ["db", "web"])
        await found.until(lambda: codes(found) == [])


async def test_a_restored_server_is_believed_even_though_its_versions_are_lower(server: FakeApiServer) -> None:
    server.put(objects.service("old"))
    backup = server.snapshot()
    for number in range(5):
        server.put(objects.service(f"s{number}"))
    async with following(server) as found:
        assert len(services(found)) == 6
        await server.stop()
        server.restore(backup)
        await server.start()
        await found.until(lambda: services(found) == ["old"])
        server.put(objects.service("new"))
        await found.until(lambda: services(found) == ["new", "old"])


async def test_a_restore_behind_a_cut_is_seen(server: FakeApiServer) -> None:
    backup = server.snapshot()
    server.put(objects.service("web"))
    async with following(server) as found:
        await found.until(lambda: server.watchers("services"))
        server.restore(backup)
        server.cut()
        await found.until(lambda: services(found) == [])


@pytest.mark.parametrize("comes_back", [True, False], ids=["comes back", "is empty"])
async def test_r60_a_list_without_the_objects_there_were_is_confirmed(server: FakeApiServer, comes_back: bool) -> None:
    """None of them is taken away for one list that has nothing; if a second one says so too they are."""
    for name in ("web", "db"):
        server.put(objects.service(name))
    async with following(server) as found:
        await found.until(lambda: server.watchers("services"))
        held, server._objects["services"] = server._objects["services"], {}
        server.send_error("services", 410)
        await found.until(lambda: codes(found) == [ProblemCode.SOURCE_UNREACHABLE])
        assert services(found) == ["db", "web"]
        (problem,) = [one for one in found.store.problems if one.code == ProblemCode.SOURCE_UNREACHABLE]
        assert "services has no objects any more, where there were 2" in problem.message
        seen: list[list[str]] = []
        found.store.on_change(lambda: seen.append(services(found)))
        begun = asyncio.get_running_loop().time()
        if comes_back:
            server._objects["services"] = held
        await found.until(lambda: codes(found) == [] and services(found) == (["db", "web"] if comes_back else []))
        assert asyncio.get_running_loop().time() - begun < 1
        assert ([] in seen) is not comes_back


async def test_r60_objects_deleted_one_by_one_are_gone_at_once(server: FakeApiServer) -> None:
    for name in ("web", "db"):
        server.put(objects.service(name))
    async with following(server) as found:
        await found.until(lambda: server.watchers("services"))
        before = len(server.requests)
        for name in ("web", "db"):
            server.delete(objects.service(name))
        await found.until(lambda: services(found) == [])
        assert not any("limit=500" in each for each in server.requests[before:])


async def test_one_stale_list_is_not_believed(server: FakeApiServer) -> None:
    stale = server.snapshot()
    server.put(objects.service("web"))
    async with following(server) as found:
        present = server.snapshot()
        seen: list[list[str]] = []
        found.store.on_change(lambda: seen.append(services(found)))

        def right_again() -> None:
            server.restore(present)
            server.page_hook = lambda: None

        await found.until(lambda: server.watchers("services"))
        server.page_hook = right_again
        server.restore(stale)
        server.send_error("services", 410)
        await found.until(lambda: server.page_hook is not right_again)
        server.put(objects.service("later"))
        await found.until(lambda: "later" in services(found))
        assert all("web" in each for each in seen)


async def test_a_token_that_ran_out_is_read_again(server: FakeApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with following(server) as found:
        await found.until(lambda: server.watchers("services"))
        server.tokens = {"another"}
        server.cut()
        await found.until(lambda: codes(found) == [ProblemCode.SOURCE_UNREACHABLE])
        server.tokens = {TOKEN}
        server.put(objects.service("web"))
        await found.until(lambda: services(found) == ["web"])
        await found.until(lambda: codes(found) == [])


async def test_nobody_is_sent_away_for_a_day(server: FakeApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sources.kubernetes.reflector.LONGEST_RETRY_SECONDS", 0.01)
    async with following(server) as found:
        await found.until(lambda: server.watchers("services"))
        server.refuse["services"] = Refuse(503, "maintenance", {"Retry-After": "86400"})
        server.cut()
        await found.until(lambda: codes(found) == [ProblemCode.SOURCE_UNREACHABLE])
        del server.refuse["services"]
        server.put(objects.service("web"))
        await found.until(lambda: services(found) == ["web"])


# Kinds that come and go


async def test_a_kind_that_is_absent_is_picked_up_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    for wait in ("FIRST_WAIT_SECONDS", "LONGEST_WAIT_SECONDS"):
        # Only its definition tells in time.
        monkeypatch.setattr(f"sources.kubernetes.reflector.{wait}", 1000.0)
    async with running(FakeApiServer(definitions=False)) as server, following(server) as found:
        assert found.source.pending == ()
        server.define(ROUTES)
        server.put(objects.service("web"))
        server.put(objects.virtual_service("web"))
        await found.until(lambda: timeouts(found) == {"web": "0:00:01"})


async def test_a_kind_that_is_removed_is_no_outage(server: FakeApiServer) -> None:
    server.put(objects.service("web"))
    server.put(objects.virtual_service("web", "1s"))
    async with following(server) as found:
        server.undefine(ROUTES)
        await found.until(lambda: timeouts(found) == {})
        assert (services(found), codes(found)) == (["web"], [])
        server.define(ROUTES)
        server.put(objects.virtual_service("web", "2s"))
        await found.until(lambda: timeouts(found) == {"web": "0:00:02"})


async def test_a_kind_that_is_not_served_for_a_while_keeps_its_objects(server: FakeApiServer) -> None:
    server.put(objects.service("web"))
    server.put(objects.virtual_service("web"))
    async with following(server) as found:
        await found.until(lambda: server.watchers(ROUTES))
        server.refuse[ROUTES] = Refuse(404)
        server.cut()
        await found.until(lambda: codes(found) == [ProblemCode.SOURCE_UNREACHABLE])
        assert timeouts(found) == {"web": "0:00:01"}
        del server.refuse[ROUTES]
        await found.until(lambda: codes(found) == [])


# What is read


async def test_only_the_metadata_and_the_secrets_that_are_needed_are_asked_for(server: FakeApiServer) -> None:
    for namespace in ("gateways", "shop"):
        server.put(objects.secret("tls", namespace))
    server.put(objects.mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"))
    server.put(objects.mesh_config("nonsense", name="other"))
    async with following(server, Scope(secret_namespaces=("gateways",))) as found:
        assert list(found.store.secrets) == [("gateways", "tls")]
        assert found.store.mesh.settings.outbound_traffic == "REGISTRY_ONLY"
        assert list(found.store.config_maps) == [("istio-system", "istio")]
    assert not any(each.startswith("/api/v1/secrets") for each in server.requests)


async def test_the_settings_may_have_another_name(server: FakeApiServer) -> None:
    server.put(objects.mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}", name="mesh", namespace="heddle"))
    scope = Scope(mesh_config=ObjectRef(kind="ConfigMap", namespace="heddle", name="mesh"))
    async with following(server, scope) as found:
        assert found.store.mesh.settings.outbound_traffic == "REGISTRY_ONLY"


async def test_endpoints_are_those_of_slices_joined_with_pods_and_nodes(server: FakeApiServer) -> None:
    server.put(objects.node("n1", "eu", "eu-1"))
    server.put(objects.service("web"))
    server.put(objects.pod("web-1", "10.0.0.1", node="n1"))
    server.put(objects.pod("web-2", "10.0.0.2", meshed=False))
    async with following(server) as found:
        # The selector selects both, and no slice lists them.
        assert found.store.mesh.endpoints[WEB] == ()
        assert [port.number for port in found.store.mesh.inbound_ports["shop", "web-1"]] == [8080]
        listed = objects.endpoint_slice("web", {"web-1": "10.0.0.1", "web-2": "10.0.0.2", "late": "10.0.0.3"})
        server.put(listed)
        await found.until(lambda: len(found.store.mesh.endpoints[WEB]) == 2)
        first, second = found.store.mesh.endpoints[WEB]
        assert (first.address, first.meshed, first.locality) == ("10.0.0.1", True, Locality(region="eu", zone="eu-1"))
        assert (second.address, second.meshed, second.identity) == ("10.0.0.2", False, None)
        # Nobody knows who answers at the third until its pod is known.
        server.put(objects.pod("late", "10.0.0.3"))
        await found.until(lambda: len(found.store.mesh.endpoints[WEB]) == 3)
        server.put(objects.node("n1", "eu", "eu-2"))
        await found.until(lambda: found.store.mesh.endpoints[WEB][0].locality.zone == "eu-2")


async def test_a_pod_that_ends_is_draining_until_it_no_longer_serves(server: FakeApiServer) -> None:
    server.put(objects.service("web"))
    server.put(objects.pod("web-1", "10.0.0.1"))
    listed = objects.endpoint_slice("web", {"web-1": "10.0.0.1"})
    server.put(listed)
    async with following(server) as found:
        for serving in (True, False):
            listed["endpoints"][0]["conditions"] = {"ready": False, "serving": serving, "terminating": True}
            server.put(listed)
            await found.until(lambda serving=serving: found.store.mesh.endpoints[WEB][0].draining is serving)  # type: ignore[misc]
            assert not found.store.mesh.endpoints[WEB][0].ready


async def test_a_port_for_tcp_and_udp_leads_to_the_one_for_tcp(server: FakeApiServer) -> None:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5302},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 5301},
    ]
    server.put(objects.changed(objects.service("web"), ports=ports))
    server.put(objects.pod("web-1", "10.0.0.1"))
    listed = objects.endpoint_slice("web", {"web-1": "10.0.0.1"})
    listed["ports"] = [
        {"name": "dns-tcp", "port": 5301, "protocol": "TCP"},
        {"name": "dns", "port": 5302, "protocol": "UDP"},
    ]
    server.put(listed)
    async with following(server) as found:
        assert [dict(endpoint.ports) for endpoint in found.store.mesh.endpoints[WEB]] == [{53: 5301}]


async def test_an_endpoint_may_be_a_pod_of_another_namespace(server: FakeApiServer) -> None:
    server.put(objects.changed(objects.service("web"), selector=None))
    server.put(objects.pod("web-1", "10.0.0.1", namespace="other"))
    listed = objects.endpoint_slice("web", {"web-1": "10.0.0.1"})
    listed["endpoints"][0]["targetRef"]["namespace"] = "other"
    server.put(listed)
    async with following(server) as found:
        (endpoint,) = found.store.mesh.endpoints[WEB]
        assert (endpoint.meshed, endpoint.identity and endpoint.identity.namespace) == (True, "other")


async def test_an_object_nested_too_deep_hides_no_other(server: FakeApiServer) -> None:
    server.put(objects.service("web"))
    server.put(objects.virtual_service("web"))
    deep = objects.virtual_service("deep", host="db")
    deep["spec"]["http"][0]["match"] = inner = []
    for _ in range(300):
        inner.append(deeper := [])
        inner = deeper
    server.put(deep)
    async with following(server) as found:
        assert (timeouts(found), codes(found)) == ({"web": "0:00:01"}, [ProblemCode.TOO_LARGE])
        await found.until(lambda: server.watchers(ROUTES))
        # Deeper than Python's own reader goes; a watch goes on behind it.
        head = '{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": '
        named = f'{{"name": "deep", "namespace": "shop", "resourceVersion": "{server.version + 1}"}}'
        item = f'{head}{named}, "spec": {{"http": {"[" * 5000}{"]" * 5000}}}}}'
        server.version += 1
        server.send(ROUTES, f'{{"type": "MODIFIED", "object": {item}}}\n'.encode())
        server.put(objects.virtual_service("web", "2s"))
        await found.until(lambda: timeouts(found) == {"web": "0:00:02"})
        assert (codes(found), server.watchers(ROUTES)) == ([ProblemCode.TOO_LARGE], 1)


async def test_findings_name_the_object_and_the_field(server: FakeApiServer) -> None:
    server.put(objects.virtual_service("web", "soon"))
    async with following(server) as found:
        (problem,) = (each for each in found.store.problems if each.severity == "error")
        assert str(problem.position) == "VirtualService.networking.istio.io/shop/web"
        assert problem.field == "spec.http[0].timeout"


async def test_a_change_after_a_quiet_time_waits_for_nothing(server: FakeApiServer) -> None:
    """The quickest of ten: others may have the machine."""
    loop = asyncio.get_running_loop()
    waits = []
    async with following(server) as found:
        await found.until(lambda: server.watchers("services"))
        for number in range(10):
            begun = loop.time()
            server.put(objects.service(f"s{number}"))
            await found.until(lambda number=number: len(services(found)) > number)  # type: ignore[misc]
            waits.append(loop.time() - begun)
    assert min(waits) < 0.05, waits


async def test_a_burst_is_few_changes(server: FakeApiServer) -> None:
    async with following(server) as found:
        await found.until(lambda: server.watchers("services"))
        generation = found.store.generation
        for number in range(200):
            server.put(objects.service(f"s{number}"))
        await found.until(lambda: len(services(found)) == 200)
        assert found.store.generation - generation < 20


async def test_catching_up_waits_for_what_was_written_before(server: FakeApiServer) -> None:
    async with following(server) as found:
        await found.until(lambda: server.watchers("services"))
        for number in range(50):
            server.put(objects.service(f"s{number}"))
        server.delete(objects.service("s7"))
        await found.catch_up()
        assert len(services(found)) == 49


def test_a_source_is_what_a_control_plane_wants() -> None:
    from sources.source import Source

    def wanted(source: KubernetesSource) -> Source:
        return source

    assert wanted.__annotations__["return"] == "Source"


async def test_a_status_is_known_and_makes_nothing_new(server: FakeApiServer) -> None:
    """Whoever writes it: no object is parsed again, no snapshot made, nobody told."""
    server.put(objects.virtual_service("web"))
    async with following(server) as found:
        mesh, generation, problems = found.store.mesh, found.store.generation, found.store.problems
        held = server.snapshot()[1]["virtualservices.networking.istio.io"]["shop/web"]
        server.put({**held, "status": {"observedGeneration": "1", "conditions": [{"type": "Accepted"}, "odd", {}]}})
        await found.catch_up()
        (observed,) = found.source.statuses
        assert [each.type for each in observed.conditions] == ["Accepted"]
        assert (observed.generation, observed.observed_generation) == (1, 1)
        assert (found.store.mesh, found.store.generation) == (mesh, generation)
        assert found.store.problems is problems, "nothing was worked out again"
        server.put(objects.virtual_service("web", "9s"))
        await found.until(lambda: found.store.generation == generation + 1)
        assert found.source.statuses.in_force_since(observed.ref) == generation + 1
        server.delete(held)
        await found.until(lambda: not len(found.source.statuses))


async def test_labels_and_annotations_are_read_again(server: FakeApiServer) -> None:
    """They change no generation of the object, and mean something to some parsers."""
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": objects.metadata("p"),
        "spec": {"rules": [{}]},
    }
    server.put(policy)
    async with following(server) as found:
        assert ("AuthorizationPolicy", "p") in {(ref.kind, ref.name) for ref in found.store.objects}
        server.put({**policy, "metadata": objects.metadata("p", annotations={"istio.io/dry-run": "true"})})
        await found.until(lambda: "HalfAppliedPolicy" in {problem.code for problem in found.store.problems})
