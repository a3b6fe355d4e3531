"""The authority in a Secret: made once by whoever is first, kept whatever happens, renewed by one for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heddle.cluster import authority_secret as module
from heddle.cluster.authority_secret import AuthoritySecret
from model.problems import ObjectRef
from sds.authority import Authority, NewAuthority, create_authority
from sds.keyfiles import KeyFileError, to_pem
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from tests.kubernetes_api.authority import authority_secret
from tests.kubernetes_api.objects import Json
from tests.kubernetes_api.server import FakeApiServer, Refuse, running

CONFIG = ObjectRef(kind="ConfigMap", namespace="heddle-system", name="istio")
NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
DOMAIN = "mesh.example"
TIMEOUT_SECONDS = 20.0


@pytest.fixture(scope="module")
def new() -> NewAuthority:
    return create_authority(trust_domain=DOMAIN, now=NOW)


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with running(FakeApiServer()) as found:
        yield found


@asynccontextmanager
async def replica(server: FakeApiServer, folder: Path, now: datetime = NOW) -> AsyncIterator[AuthoritySecret]:
    async with open_api(ClusterAccess(kubeconfig=server.write_kubeconfig(folder / "config"))) as api:
        yield AuthoritySecret(api, namespace="heddle-system", mesh_config=CONFIG, now=lambda: now, jitter=lambda: 0.0)


def stored(server: FakeApiServer) -> Json | None:
    _, objects = server.snapshot()
    return objects.get("secrets", {}).get("heddle-system/heddle-ca")


async def test_the_first_makes_it_and_the_next_start_finds_it(server: FakeApiServer, tmp_path: Path) -> None:
    async with replica(server, tmp_path) as first, replica(server, tmp_path) as second:
        made = await first.load_or_create(DOMAIN)
        kept = stored(server)
        assert kept is not None
        assert sorted(kept["data"]) == ["intermediate.pem", "root.key.pem", "root.pem"]
        assert await second.load_or_create(DOMAIN) == made
        assert stored(server) == kept


async def test_of_many_that_start_at_once_one_makes_it(server: FakeApiServer, tmp_path: Path) -> None:
    async with replica(server, tmp_path) as one, replica(server, tmp_path) as two, replica(server, tmp_path) as three:
        found = await asyncio.gather(*(each.load_or_create(DOMAIN) for each in (one, two, three)))
    assert found[0] == found[1] == found[2]


async def test_whoever_is_second_takes_what_the_first_made(
    server: FakeApiServer, tmp_path: Path, new: NewAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(*, trust_domain: str, now: datetime) -> NewAuthority:
        server.put(authority_secret(new))
        return create_authority(trust_domain=trust_domain, now=now)

    monkeypatch.setattr(module, "create_authority", create)
    async with replica(server, tmp_path) as second:
        assert await second.load_or_create(DOMAIN) == new.authority
    assert sum(request.endswith("/secrets") for request in server.requests) == 1


async def test_it_waits_for_an_api_server_that_is_away_or_busy(
    server: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    async with replica(server, tmp_path) as found, asyncio.timeout(TIMEOUT_SECONDS):
        await server.stop()
        loading = asyncio.create_task(found.load_or_create(DOMAIN))
        with capture_logs() as logs:
            while not logs:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            server.refuse["secrets"] = Refuse(503, "busy")
            await server.start()
            while not any("busy" in entry["reason"] for entry in logs):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert not loading.done()
        del server.refuse["secrets"]
        assert (await loading).trust_domain == DOMAIN


@pytest.mark.parametrize("status", [403, 404, 422])
async def test_a_secret_that_may_not_be_read_or_made_ends_it(
    server: FakeApiServer, tmp_path: Path, status: int
) -> None:
    server.refuse["secrets"] = Refuse(status, "not you")
    async with replica(server, tmp_path) as found, asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(
            KeyFileError, match=r"heddle-ca in the namespace heddle-system .* not you; Heddle's account"
        ):
            await found.load_or_create(DOMAIN)


@pytest.mark.parametrize(
    "texts",
    [
        {"root_pem": None},
        {"intermediate_pem": None},
        {"root_key_pem": None},
        {"root_pem": b"garbage"},
        {"root_pem": b""},
        {"intermediate_pem": b"-----BEGIN CERTIFICATE-----\nAAAA\n"},
        {"root_pem": b"a" * 100_000},
    ],
    ids=str,
)
async def test_a_secret_that_cannot_be_read_ends_it_and_stays_as_it_is(
    server: FakeApiServer, tmp_path: Path, new: NewAuthority, texts: dict[str, bytes | None]
) -> None:
    server.put(authority_secret(new, **texts))
    before = stored(server)
    async with replica(server, tmp_path) as found:
        with pytest.raises(KeyFileError, match="the Secret heddle-ca in the namespace heddle-system"):
            await found.load_or_create(DOMAIN)
    assert stored(server) == before


async def test_what_is_not_base64_ends_it(server: FakeApiServer, tmp_path: Path, new: NewAuthority) -> None:
    secret = authority_secret(new)
    secret["data"]["root.pem"] = "&&&"
    server.put(secret)
    async with replica(server, tmp_path) as found:
        with pytest.raises(KeyFileError, match=r"root\.pem of the Secret"):
            await found.load_or_create(DOMAIN)


async def test_another_trust_domain_ends_it_with_the_fix(
    server: FakeApiServer, tmp_path: Path, new: NewAuthority
) -> None:
    server.put(authority_secret(new))
    before = stored(server)
    async with replica(server, tmp_path) as found:
        with pytest.raises(KeyFileError, match=r"not of 'other\.example'.* delete the Secret heddle-ca"):
            await found.load_or_create("other.example")
    assert stored(server) == before


async def test_an_intermediate_that_is_due_is_renewed_once(
    server: FakeApiServer, tmp_path: Path, new: NewAuthority
) -> None:
    server.put(authority_secret(new))
    late = NOW + timedelta(days=366)
    async with replica(server, tmp_path, late) as one, replica(server, tmp_path, late) as two:
        with capture_logs() as logs:
            first, second = await asyncio.gather(one.load_or_create(DOMAIN), two.load_or_create(DOMAIN))
    assert first == second
    assert first.root == new.authority.root
    assert first.intermediate != new.authority.intermediate
    assert [entry["event"] for entry in logs] == ["sds.intermediate_renewed"]


@asynccontextmanager
async def following(secret: AuthoritySecret, authority: Authority) -> AsyncIterator[list[Authority]]:
    taken: list[Authority] = []
    task = asyncio.create_task(secret.follow(authority, taken.append))
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield taken
    finally:
        task.cancel()


async def test_a_replica_takes_the_intermediate_that_another_renewed(
    server: FakeApiServer, tmp_path: Path, new: NewAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    server.put(authority_secret(new))
    async with replica(server, tmp_path) as one, replica(server, tmp_path, NOW + timedelta(days=366)) as two:
        async with following(one, await one.load_or_create(DOMAIN)) as taken:
            renewed = await two.load_or_create(DOMAIN)
            while not taken:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            assert taken == [renewed]


async def test_a_replica_keeps_what_it_has_whatever_becomes_of_the_secret(
    server: FakeApiServer, tmp_path: Path, new: NewAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    server.put(authority_secret(new))
    other = create_authority(trust_domain=DOMAIN, now=NOW)
    async with replica(server, tmp_path) as one:
        with capture_logs() as logs:

            async def until(text: str) -> None:
                while not any(text in entry.get("reason", "") for entry in logs):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)

            async with following(one, await one.load_or_create(DOMAIN)) as taken:
                server.put(authority_secret(new, root_pem=b"garbage"))
                await until("no readable certificate")
                server.put(authority_secret(other))
                await until("other roots than those in use")
                server.delete(authority_secret(new))
                await until("is gone: put it back from a backup")
                assert taken == []
                assert stored(server) is None


async def test_no_key_is_in_a_log_or_an_error(server: FakeApiServer, tmp_path: Path, new: NewAuthority) -> None:
    keys = (to_pem(new.root_key), to_pem(new.authority.signing_key))
    lines = {line for key in keys for line in key.decode().splitlines() if not line.startswith("-----")}
    said = []
    async with replica(server, tmp_path, NOW + timedelta(days=366)) as found:
        with capture_logs() as logs:
            server.put(authority_secret(new))
            said.append(repr(await found.load_or_create(DOMAIN)))
            server.put(authority_secret(new, root_pem=to_pem(new.root_key)))
            with pytest.raises(KeyFileError) as raised:
                await found.load_or_create(DOMAIN)
            said.append(f"{raised.value!r} {raised.value.__cause__!r}")
        said += map(repr, logs)
    assert len(said) == 3
    assert not any(line in text for line in lines for text in said)
