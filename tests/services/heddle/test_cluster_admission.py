"""Streams of a control plane in a cluster: who is let in, as which status the others are sent away, and when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from structlog.testing import capture_logs

from heddle import admission, clock
from heddle.control_plane import ControlPlane
from model.names import IDENTITY_SECRET
from sds.tokens import Caller
from tests.kubernetes_api import objects
from tests.kubernetes_api.issuer import FakeIssuer, accepted, new_rsa_key
from tests.kubernetes_api.server import FakeApiServer, running
from tests.kubernetes_api.stream import METHODS, Outcome, node_id, plane_of, try_credential, try_stream
from xds.admission import Exhausted

OK = grpc.StatusCode.OK
UNAUTHENTICATED = Outcome(code=grpc.StatusCode.UNAUTHENTICATED, text="the token was not accepted")
UNAVAILABLE = Outcome(code=grpc.StatusCode.UNAVAILABLE, text="the token cannot be checked at present")
ISSUER = FakeIssuer(new_rsa_key())
TIMEOUT_SECONDS = 20.0
PEER = "ipv4:10.0.0.1:4711"
both = pytest.mark.parametrize("method", METHODS, ids=["delta", "sotw"])


def caller(pod: str = "web-1", **other: str) -> Caller:
    return Caller(**{"namespace": "shop", "service_account": "web", "pod_name": pod, "pod_uid": f"uid-{pod}", **other})


def token(pod: str = "web-1", **other: str) -> str:
    return ISSUER.mint(caller(pod, **other), clock.now())


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with running(FakeApiServer()) as found:
        ISSUER.publish(found)
        found.put(objects.service("web"))
        found.put(objects.pod("web-1", "10.0.0.1"))
        yield found


@pytest.fixture
async def plane(server: FakeApiServer, tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with plane_of(server.write_kubeconfig(tmp_path / "config"), host="0.0.0.0") as found:
        yield found


async def stream(plane: ControlPlane, text: str, pod: str = "web-1", method: str = METHODS[0]) -> Outcome:
    return await try_stream(plane, text, node_id(pod, "shop"), method)


async def test_no_rpc_is_left_out_here(plane: ControlPlane) -> None:
    assert sorted(plane.streams.methods) == sorted(METHODS)


@both
async def test_every_rpc_wants_the_pod_s_own_token(server: FakeApiServer, plane: ControlPlane, method: str) -> None:
    assert (await stream(plane, token(), method=method)).code is OK
    node = node_id("web-1", "shop")
    for credential in (None, "", "Bearer ", "Bearer garbage", f"Basic {token()}", token()):
        assert await try_credential(plane, credential, node, method) == UNAUTHENTICATED
    long_ago = clock.now() - timedelta(hours=2)
    for text in (
        ISSUER.mint(caller(), long_ago),
        ISSUER.mint(caller(), clock.now(), aud=["https://kubernetes.default.svc"]),
        ISSUER.mint(caller(), clock.now(), **{"kubernetes.io": {"namespace": "shop"}}),
        FakeIssuer(new_rsa_key()).mint(caller(), clock.now()),
        token("web-2"),
        token(pod_uid="uid-of-the-one-before"),
        token(service_account="admin"),
    ):
        assert await stream(plane, text, method=method) == UNAUTHENTICATED
    server.put(objects.pod("web-2", "10.0.0.2"))
    wrong = await stream(plane, token(), pod="web-2", method=method)
    assert wrong == Outcome(code=grpc.StatusCode.PERMISSION_DENIED, text=UNAUTHENTICATED.text)


@both
async def test_without_the_api_server(server: FakeApiServer, plane: ControlPlane, method: str) -> None:
    await server.stop()
    assert (await stream(plane, token(), method=method)).code is OK
    assert await stream(plane, token("late"), pod="late", method=method) == UNAVAILABLE
    assert await stream(plane, FakeIssuer(new_rsa_key()).mint(caller(), clock.now()), method=method) == UNAVAILABLE
    assert await stream(plane, "garbage", method=method) == UNAUTHENTICATED
    await server.start()
    assert await stream(plane, token("late"), pod="late", method=method) == UNAUTHENTICATED


async def test_a_key_that_is_not_published_is_reviewed(server: FakeApiServer, plane: ControlPlane) -> None:
    other = FakeIssuer(new_rsa_key())
    server.review = lambda spec: accepted(caller())
    assert (await stream(plane, other.mint(caller(), clock.now()))).code is OK
    assert [spec["audiences"] for spec in server.reviewed] == [["heddle"]]


async def test_a_pod_that_the_watch_has_not_shown_yet_is_waited_for(server: FakeApiServer, plane: ControlPlane) -> None:
    held: list[object] = []
    tell = server._tell
    server._tell = held.append  # type: ignore[assignment, method-assign]
    server.put(objects.pod("new", "10.0.0.9"))
    waiting = asyncio.create_task(stream(plane, token("new"), pod="new"))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not any(request.endswith("metadata.name%3Dnew") for request in server.requests):  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        assert not waiting.done()
        for write in held:
            tell(write)  # type: ignore[arg-type]
        assert (await waiting).code is OK


async def test_a_pod_that_the_watch_does_not_show_is_told_to_come_again(
    server: FakeApiServer, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "ARRIVAL_SECONDS", 0.01)
    server._tell = lambda write: None  # type: ignore[method-assign]
    server.put(objects.pod("new", "10.0.0.9"))
    assert await stream(plane, token("new"), pod="new") == UNAVAILABLE


async def test_a_pod_that_ends_gets_no_certificate_any_more(server: FakeApiServer, plane: ControlPlane) -> None:
    secrets = plane.admission.secrets_for(caller(), PEER)
    first = secrets.secret(IDENTITY_SECRET, clock.now())
    going = objects.pod("web-1", "10.0.0.1")
    going["metadata"]["deletionTimestamp"] = "2027-01-01T00:00:00Z"
    server.put(going)
    await plane.source.catch_up()
    # It may drain for long, and needs its identity as long as it does.
    assert secrets.renew(clock.now()) != first
    going["status"]["phase"] = "Failed"
    server.put(going)
    await plane.source.catch_up()
    with pytest.raises(LookupError, match="gone"):
        secrets.renew(clock.now())
    after_its_end = clock.now() + timedelta(days=2)
    with pytest.raises(LookupError, match="gone"):
        secrets.secret(IDENTITY_SECRET, after_its_end)
    with pytest.raises(LookupError, match="gone"):
        plane.admission.secrets_for(caller(), PEER).secret(IDENTITY_SECRET, clock.now())


@both
async def test_a_pod_that_opens_streams_in_a_loop_is_sent_away(
    server: FakeApiServer, plane: ControlPlane, method: str
) -> None:
    found = [await stream(plane, token(), method=method) for _ in range(admission.ISSUES_AT_ONCE + 1)]
    assert {each.code for each in found[:-1]} == {OK}
    assert found[-1].code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "every 10 s" in found[-1].text
    server.put(objects.pod("web-2", "10.0.0.2"))
    await plane.source.catch_up()
    assert (await stream(plane, token("web-2"), pod="web-2", method=method)).code is OK


async def test_certificates_of_a_pod_are_made_at_a_rate_and_of_others_beside_it(
    server: FakeApiServer, plane: ControlPlane
) -> None:
    for number in range(1000):
        server.put(objects.pod(f"many-{number}", f"10.1.{number // 250}.{number % 250 + 1}"))
    await plane.source.catch_up()
    at = [0.0]
    plane.admission._monotonic = lambda: at[0]  # type: ignore[method-assign]  # the clock, as an argument would be
    for number in range(1000):
        plane.admission.secrets_for(caller(f"many-{number}"), PEER)

    def opened(count: int) -> int:
        good = 0
        for _ in range(count):
            with contextlib.suppress(Exhausted):
                plane.admission.secrets_for(caller(), PEER)
                good += 1
        return good

    assert opened(30) == 20
    at[0] += 9.9
    assert opened(30) == 0
    at[0] += 20.2
    assert opened(30) == 3
    # One whose pod went is forgotten, and there is nothing to be had for it.
    server.delete(objects.pod("web-1", ""))
    await plane.source.catch_up()
    assert caller() not in plane.admission._issues
    assert len(plane.admission._issues) == 1000


async def test_the_log_says_who_got_a_certificate_and_from_where(server: FakeApiServer, plane: ControlPlane) -> None:
    with capture_logs() as lines:
        issued = plane.admission.secrets_for(caller(), PEER).secret(IDENTITY_SECRET, clock.now())
    assert issued is not None
    (line,) = (line for line in lines if line["event"] == "identity.issued")
    assert line == {
        "event": "identity.issued",
        "log_level": "info",
        "serial": issued.version,
        "peer": PEER,
        "identity": "spiffe://cluster.local/ns/shop/sa/web",
        "namespace": "shop",
        "pod": "web-1",
        "uid": "uid-web-1",
    }


async def test_the_server_s_certificate_names_the_service_and_no_wildcard(
    server: FakeApiServer, plane: ControlPlane
) -> None:
    chain = plane._issue_server().certificate_chain
    names = x509.load_pem_x509_certificates(chain)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == [
        "heddle.heddle-system.svc",
        "heddle.heddle-system.svc.cluster.local",
    ]
    assert names.value.get_values_for_type(x509.IPAddress) == []


async def test_another_namespace_is_in_every_name(server: FakeApiServer, tmp_path: Path) -> None:
    async with plane_of(server.write_kubeconfig(tmp_path / "config"), namespace="mesh") as plane:
        assert plane.server_name == "heddle.mesh.svc"
        assert (await stream(plane, token())).code is OK
        _, held = server.snapshot()
        assert list(held["secrets"]) == ["mesh/heddle-ca"]
