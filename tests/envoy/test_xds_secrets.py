"""A real Envoy that comes to need secrets, and needs them no longer, on both variants."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import betterproto2
import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.listener.v3 import Listener

from model.identity import SpiffeId
from model.settings import MeshSettings
from model.view import View
from protos.type_urls import SECRET
from sds.authority import Authority, create_authority
from sds.certificate_policy import CertificatePolicy
from sds.secrets import IssuedSecret, WorkloadSecrets
from sds.signing import issue_workload
from tests.envoy.xds_tap import tapped
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
from translators.upstream_tls import build_mesh_tls
from xds.events import Event, Rejected
from xds.gates import PATIENCE
from xds.memo import Memo

pytestmark = [pytest.mark.envoy, pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])]
TRUST_DOMAIN = "cluster.local"
SECURE = "only over mutual TLS"
LIFE = timedelta(hours=1)
IDENTITY = SpiffeId(trust_domain=TRUST_DOMAIN, namespace="toy", service_account="toy")


def derive(type_url: str, name: str, view: View) -> betterproto2.Message | None:
    """The toy's resources; mutual TLS in and out where a service answers `SECURE`."""
    built = toy_derive(type_url, name, view)
    match built:
        case Listener():
            if any(_is_secure(view, host) for host in view.hosts_on_port(int(name.removeprefix("http-")))):
                built.filter_chains[0].transport_socket = build_downstream_mtls(MeshSettings(), ("http/1.1",))
        case Cluster() if _is_secure(view, name.split("|")[3]):
            built.transport_socket = build_mesh_tls(sni=name, names=(str(IDENTITY),), alpn=())
    return built


def _is_secure(view: View, host: str) -> bool:
    service = view.service(host)
    return service is not None and service.external_name == SECURE


@dataclass(slots=True)
class Losing:
    """Has no secrets any more once they are `lost`."""

    secrets: WorkloadSecrets
    lost: bool = False

    def secret(self, name: str, now: datetime) -> IssuedSecret | None:
        return None if self.lost else self.secrets.secret(name, now)

    def renew(self, now: datetime) -> IssuedSecret:
        return self.secrets.renew(now)


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


async def test_r39_r44_nothing_opens_without_its_secrets_and_they_are_never_taken_back(
    tmp_path: Path, delta: bool
) -> None:
    """From plaintext to mutual TLS and back, over and over, each time with a new cluster that needs them too:
    somebody answers at all times, in one way or the other."""
    events: list[Event] = []
    port = free_port()
    authority = create_authority(trust_domain=TRUST_DOMAIN, now=datetime.now(UTC)).authority
    own = WorkloadSecrets(
        authority=lambda: authority, identity=IDENTITY, policy=CertificatePolicy(life=LIFE), jitter=lambda: 0.0
    )
    secrets = Losing(own)
    memo = Memo(derive=derive, names=toy_names, report=events.append)
    context = client(authority, tmp_path)
    async with toy_server(events, memo=memo, admission=Anyone(secrets=secrets)) as toy, tapped(toy.port) as tap:
        toy.server.publish(toy_mesh(toy_service("users", port, "v1")), 1)
        async with running_envoy(tmp_path, ads_port=tap.port, delta=delta) as admin:
            await until_answers(port, "users", "v1")
            await until_acknowledged(toy, 1)
            assert not tap.requests(SECRET)
            for generation in range(2, 9):
                secure = generation % 2 == 0
                expected = SECURE if secure else "v1"
                more = [toy_service(f"new{generation}", port, SECURE)] if secure else []
                toy.server.publish(toy_mesh(toy_service("users", port, expected), *more), generation)
                # Sooner than anything is sent for want of patience.
                async with asyncio.timeout(PATIENCE.total_seconds() - 1):
                    while (found := await answer(port, context)) != (secure, expected):
                        assert found[1] in ("v1", SECURE)
                    await until_acknowledged(toy, generation)
            secrets.lost = True
            toy.server.secrets_changed()
            await tap.quiet()
            assert await answer(port, context) == (True, SECURE)
            not_ready = await stats(admin, "secrets_not_ready")
            assert not_ready
            assert not any(not_ready.values()), not_ready
    if delta:
        assert not [name for one in tap.responses(SECRET) for name in one.removed_resources]
    assert all(one.resources for one in tap.responses(SECRET))
    assert not [event for event in events if isinstance(event, Rejected)]
