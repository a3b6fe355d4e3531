"""Who is answered by a replica, and what: real HTTPS, a control plane on a fake API server, real tokens."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from heddle.admin import About, Questions
from heddle.cluster import admin_server
from heddle.cluster.admin_accounts import AdminAccounts
from heddle.cluster.admin_protocol import PROGRESS_PATH, REASON, TOKEN_HEADER
from heddle.cluster.admin_server import running_admin
from heddle.cluster.replica_progress import to_progress
from heddle.cluster.webhook_certificate import WebhookCertificate
from heddle.control_plane import Cluster, ControlPlane, PlaneSettings
from sds.tokens import Caller
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from tests.kubernetes_api import objects
from tests.kubernetes_api.issuer import FakeIssuer, new_rsa_key
from tests.kubernetes_api.server import FakeApiServer, running

NAMESPACE, NAME = "heddle-system", "heddle.heddle-system.svc"
ISSUER = FakeIssuer(new_rsa_key())
REPLICA = Caller(namespace=NAMESPACE, service_account="heddle", pod_name="heddle-b", pod_uid="uid-heddle-b")
CANARY = Caller(namespace=NAMESPACE, service_account="heddle-canary", pod_name="canary", pod_uid="uid-canary")
POSING = Caller(namespace=NAMESPACE, service_account="other", pod_name="posing", pod_uid="uid-posing")
WEB = Caller(namespace="shop", service_account="web", pod_name="web-1", pod_uid="uid-web-1")


def control_plane_pod(name: str, revision: str, account: str) -> objects.Json:
    found = objects.pod(name, "10.0.0.9", namespace=NAMESPACE, app=account, meshed=False)
    found["metadata"]["labels"] = {"app.kubernetes.io/name": "heddle", "heddle.io/revision": revision}
    return found


def token(caller: Caller, **more: object) -> str:
    return ISSUER.mint(caller, datetime.now(UTC), aud=["heddle-admin"], **more)


def person(account: str = "heddle-reader", namespace: str = NAMESPACE) -> str:
    bound = {"namespace": namespace, "serviceaccount": {"name": account, "uid": "u"}}
    return token(REPLICA, **{"kubernetes.io": bound, "sub": f"system:serviceaccount:{namespace}:{account}"})


class Door:
    def __init__(self, session: aiohttp.ClientSession, port: int, trust: ssl.SSLContext) -> None:
        self._session = session
        self._port = port
        self._trust = trust

    async def ask(self, path: str, shown: str | None) -> tuple[int, dict[str, Any]]:
        headers = {} if shown is None else {TOKEN_HEADER: shown}
        url = f"https://127.0.0.1:{self._port}{path}"
        async with self._session.get(url, headers=headers, ssl=self._trust, server_hostname=NAME) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with opened(tmp_path) as found:
        yield found


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Door]:
    server = FakeApiServer()
    ISSUER.publish(server)
    for item in (
        objects.namespace("shop"),
        objects.pod("web-1", "10.0.0.1"),
        control_plane_pod("heddle-a", "heddle", "heddle"),
        control_plane_pod("heddle-b", "heddle", "heddle"),
        control_plane_pod("canary", "heddle-canary", "heddle-canary"),
        control_plane_pod("posing", "heddle", "other"),
    ):
        server.put(item)
    async with running(server), aiohttp.ClientSession() as session:
        async with open_api(ClusterAccess(kubeconfig=server.write_kubeconfig(folder / "config"))) as api:
            plane = ControlPlane(PlaneSettings(cluster=Cluster(api=api), keys=folder / "unused", host="127.0.0.1"))
            async with plane.running():
                certificate = WebhookCertificate(
                    lambda: plane.authority, dns_names=(NAME,), host="", now=lambda: datetime.now(UTC)
                )
                about = About(mesh="heddle", replica="heddle-a", revision="heddle", leading=lambda: True)
                accounts = AdminAccounts(
                    plane.admin_tokens, lambda: plane.store.mesh, namespace=NAMESPACE, revision="heddle"
                )
                async with running_admin(
                    Questions(plane, about, longest_wait=30.0),
                    lambda process, change: to_progress(
                        "p", plane.streams.progress(), plane.statuses, known_process=process, known_change=change
                    ),
                    accounts,
                    tls=certificate.tls,
                    host="127.0.0.1",
                    port=0,
                ) as port:
                    trust = ssl.create_default_context(cadata=plane.trust_bundle.decode())
                    yield Door(session, port, trust)


async def test_those_who_may_ask_are_answered(door: Door) -> None:
    for name, shown in {
        "a person": person(),
        "a replica": token(REPLICA),
        "a replica of another revision": token(CANARY),
    }.items():
        code, said = await door.ask("/status", shown)
        assert code == 200, name
    assert said["control_planes"] == [
        {
            "name": "heddle-a",
            "version": "0.1.0",
            "revision": "heddle",
            "generation": said["generation"],
            "sidecars": 0,
            "leading": True,
        }
    ]
    code, said = await door.ask(f"{PROGRESS_PATH}?process=&after=0", token(REPLICA))
    assert (code, said["process"], said["objects"]) == (200, "p", [])
    code, said = await door.ask("/pods", person())
    assert (code, "web-1" in {each["name"] for each in said["pods"]}) == (200, True)
    code, said = await door.ask("/wait?timeout=60", person())
    assert (code, said["outcome"]) == (200, "applied")


async def test_nobody_else_is_and_all_hear_the_same(door: Door) -> None:
    now = datetime.now(UTC)
    refused = {
        "nobody": None,
        "nothing": "",
        "garbage": "garbage",
        "a sidecar's own": ISSUER.mint(WEB, now),
        "a pod of the mesh": token(WEB),
        "another account of Heddle's namespace": person("default"),
        "the replicas' account without a pod": person("heddle"),
        "another revision's reader": person("heddle-canary-reader"),
        "a reader elsewhere": person(namespace="shop"),
        "a pod with our labels and another account": token(POSING),
        "a replica that is gone": token(Caller(**{**as_fields(REPLICA), "pod_uid": "before"})),
        "a replica's name with another account": token(Caller(**{**as_fields(REPLICA), "service_account": "other"})),
        "ended": token(REPLICA, exp=int(now.timestamp()) - 1),
        "another key": FakeIssuer(new_rsa_key()).mint(REPLICA, now, aud=["heddle-admin"]),
    }
    expected = {"message": "the token was not accepted", "reason": REASON, "code": 403}
    for path in ("/status", "/pods", "/wait", PROGRESS_PATH, "/config/shop/web-1/all", "/nowhere", "/"):
        for name, shown in refused.items():
            assert await door.ask(path, shown) == (403, expected), f"{name} {path}"


def as_fields(caller: Caller) -> dict[str, str]:
    return {name: getattr(caller, name) for name in ("namespace", "service_account", "pod_name", "pod_uid")}


async def test_questions_that_have_no_answer(door: Door) -> None:
    for path, code, words in (
        ("/config/shop/web-1/all", 404, "pod web-1 in namespace shop is not connected"),
        ("/bootstrap/shop/web-1", 404, "Not Found"),
        ("/wait?timeout=x", 400, "could not convert"),
        ("/wait?timeout=nan", 400, "a number of seconds"),
        (f"{PROGRESS_PATH}?after=x", 400, "invalid literal"),
    ):
        status, said = await door.ask(path, person())
        assert (status, said["reason"]) == (code, REASON)
        assert words in said["message"]


async def test_people_are_bounded_and_replicas_are_not_kept_waiting_by_them(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = person()
    answers = await asyncio.gather(*(door.ask("/status", shown) for _ in range(60)))
    codes = [code for code, _ in answers]
    assert set(codes) == {200, 429}
    assert "again" in next(said["message"] for code, said in answers if code == 429)
    assert (await door.ask(PROGRESS_PATH, token(REPLICA)))[0] == 200
    monkeypatch.setattr(admin_server, "MAX_ANSWER", 10)
    code, said = await door.ask("/pods", token(REPLICA))
    assert (code, "ask for one kind" in said["message"]) == (413, True)
