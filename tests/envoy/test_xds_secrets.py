"""A real Envoy whose listener comes to need secrets, and needs them no longer, on both variants."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import betterproto2
import pytest
from envoy_data_plane.envoy.config.listener.v3 import Listener

from model.identity import SpiffeId
from model.settings import MeshSettings
from model.view import View
from protos.type_urls import LISTENER, SECRET
from sds.authority import Authority, create_authority
from sds.certificate_policy import CertificatePolicy
from sds.secrets import WorkloadSecrets
from sds.signing import issue_workload
from tests.envoy.xds_tap import Response, tapped
from tests.envoy.xds_toy import (
    Anyone,
    free_port,
    get,
    running_envoy,
    stats,
    toy_derive,
    toy_mesh,
    toy_names,
    toy_server,
    toy_service,
    until_acknowledged,
    until_answers,
)
from translators.downstream_tls import build_downstream_mtls
from xds.events import Event, Rejected
from xds.memo import Memo

pytestmark = [pytest.mark.envoy, pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])]
TRUST_DOMAIN = "cluster.local"
SECURE = "only over mutual TLS"
LIFE = timedelta(hours=1)
IDENTITY = SpiffeId(trust_domain=TRUST_DOMAIN, namespace="toy", service_account="toy")


def derive(type_url: str, name: str, view: View) -> betterproto2.Message | None:
    """The toy's resources; where a service answers `SECURE`, its listener takes mutual TLS alone."""
    built = toy_derive(type_url, name, view)
    if isinstance(built, Listener):
        hosts = view.hosts_on_port(int(name.removeprefix("http-")))
        if any((service := view.service(host)) and service.external_name == SECURE for host in hosts):
            built.filter_chains[0].transport_socket = build_downstream_mtls(MeshSettings(), ("http/1.1",))
    return built


def client(authority: Authority, directory: Path) -> ssl.SSLContext:
    now = datetime.now(UTC)
    svid = issue_workload(authority, identity=IDENTITY, now=now, life=LIFE)
    pem = directory / "client.pem"
    pem.write_bytes(svid.certificate_chain + svid.private_key)
    context = ssl.create_default_context(cadata=authority.trust_bundle.decode())
    context.check_hostname = False
    context.load_cert_chain(pem)
    return context


async def answer(port: int, context: ssl.SSLContext) -> tuple[bool, str]:
    """Whether it takes mutual TLS, and what it answers then; asked once more, as it may change in between."""
    for _ in range(2):
        if body := (await get(port, host="users"))[1]:
            return False, body
        if body := (await get(port, host="users", tls=context))[1]:
            return True, body
    return False, ""


async def test_r39_r44_a_listener_never_opens_without_its_secrets_and_they_are_never_taken_back(
    tmp_path: Path, delta: bool
) -> None:
    """From plaintext to mutual TLS and back, over and over: somebody answers at all times, in one way or the other."""
    events: list[Event] = []
    port = free_port()
    authority = create_authority(trust_domain=TRUST_DOMAIN, now=datetime.now(UTC)).authority
    secrets = WorkloadSecrets(
        authority=lambda: authority, identity=IDENTITY, policy=CertificatePolicy(life=LIFE), jitter=lambda: 0.0
    )
    memo = Memo(derive=derive, names=toy_names, report=events.append)
    context = client(authority, tmp_path)
    async with toy_server(events, memo=memo, admission=Anyone(secrets=secrets)) as toy, tapped(toy.port) as tap:
        toy.server.publish(toy_mesh(toy_service("users", port, "v1")), 1)
        async with running_envoy(tmp_path, ads_port=tap.port, delta=delta) as admin:
            await until_answers(port, "users", "v1")
            await until_acknowledged(toy, 1)
            assert not tap.requests(SECRET)
            for generation in range(2, 8):
                secure = generation % 2 == 0
                toy.server.publish(toy_mesh(toy_service("users", port, SECURE if secure else "v1")), generation)
                expected = SECURE if secure else "v1"
                async with asyncio.timeout(5):
                    while (found := await answer(port, context)) != (secure, expected):
                        assert found[1] in ("v1", SECURE)
                await until_acknowledged(toy, generation, within=5)
            not_ready = await stats(admin, "secrets_not_ready")
            assert not_ready
            assert not any(not_ready.values()), not_ready
    said = [message for _, message in tap.said if message.type_url in (SECRET, LISTENER)]
    # Asked for with the listener, they come before it is acknowledged.
    secret = next(place for place, one in enumerate(said) if isinstance(one, Response) and one.type_url == SECRET)
    acknowledged = [
        place for place, one in enumerate(said) if one.type_url == LISTENER and not isinstance(one, Response)
    ]
    assert any(place > secret for place in acknowledged)
    if delta:
        assert not [name for one in tap.responses(SECRET) for name in one.removed_resources]
    assert not [event for event in events if isinstance(event, Rejected)]
