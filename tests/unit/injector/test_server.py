"""The webhook over HTTPS."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from injector import connections, server
from injector.reviewers import InjectionReviewer
from injector.server import MAX_BODY, running_webhook, tls_context
from injector.settings import InjectionSettings
from tests.unit.injector.pods import pod
from tests.unit.injector.test_admission_review import review

NAME = "heddle.heddle-system.svc"
JSON = {"Content-Type": "application/json"}


@dataclass(slots=True)
class KnownNamespaces:
    """Those that it was given."""

    labels: dict[str, dict[str, str]] = field(default_factory=lambda: {"shop": {"heddle.io/inject": "enabled"}})

    async def labels_of(self, namespace: str, *, newest: bool = False) -> Mapping[str, str] | None:
        return self.labels.get(namespace)


def reviewers() -> dict[str, server.Reviewer]:
    return {"/inject": InjectionReviewer(InjectionSettings, KnownNamespaces())}


def write_certificate(folder: Path, serial: int) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, start, start + timedelta(days=36500))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    paths = folder / f"{serial}.pem", folder / f"{serial}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A webhook, and how an API server that trusts it calls."""

    port: int
    tls: ssl.SSLContext
    client: aiohttp.ClientSession
    trust: ssl.SSLContext

    async def post(self, body: bytes, headers: Mapping[str, str] = JSON, path: str = "/inject") -> tuple[int, str]:
        url = f"https://127.0.0.1:{self.port}{path}"
        async with self.client.post(url, data=io.BytesIO(body), headers=headers, server_hostname=NAME) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def webhook(folder: Path) -> AsyncIterator[Running]:
    certificate, key = write_certificate(folder, 1)
    tls = tls_context(certificate, key)
    trust = ssl.create_default_context(cafile=str(certificate))
    async with running_webhook(reviewers(), tls=tls, host="127.0.0.1", port=0) as port:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as client:
            yield Running(port=port, tls=tls, client=client, trust=trust)


async def test_a_pod_is_injected(tmp_path: Path) -> None:
    async with webhook(tmp_path) as running:
        status, text = await running.post(review(pod()))
        response = json.loads(text)["response"]
        assert (status, response["allowed"], response["patchType"]) == (200, True, "JSONPatch")
        status, text = await running.post(review(pod(), namespace="elsewhere"))
        assert (status, json.loads(text)["response"]["status"]["code"]) == (200, 503)


async def test_what_is_no_review_is_refused_in_one_line(tmp_path: Path) -> None:
    async with webhook(tmp_path) as running:
        for body, headers, status in (
            (b"no JSON", JSON, 400),
            (b"{}", JSON, 400),
            (review(pod(), uid=""), JSON, 400),
            (review(pod()), {"Content-Type": "text/plain"}, 415),
            (b" " * (MAX_BODY + 1), JSON, 413),
        ):
            answered, text = await running.post(body, headers)
            assert (answered, text.count("\n")) == (status, 1)
            assert "Traceback" not in text
        assert (await running.post(b"", path="/other"))[0] == 404
        assert (await running.post(review(pod())))[0] == 200


async def test_a_body_that_never_ends_is_refused(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65536
            await asyncio.sleep(0)

    async with webhook(tmp_path) as running:
        url = f"https://127.0.0.1:{running.port}/inject"
        try:
            async with running.client.post(url, data=endless(), headers=JSON, server_hostname=NAME) as answer:
                assert answer.status == 413
        except aiohttp.ClientConnectionError:
            pass  # It was closed while we still wrote.
        assert (await running.post(review(pod())))[0] == 200


async def connect(running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", running.port, ssl=running.trust, server_hostname=NAME)


async def is_ended_at_once(running: Running) -> bool:
    """Whether a new connection is closed by the other end, during its handshake or after it."""
    try:
        reader, writer = await connect(running)
    except OSError:
        return True
    try:
        return await reader.read() == b""
    except OSError:
        return True
    finally:
        writer.close()


HEAD = f"POST /inject HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"


@pytest.mark.parametrize("sent", ["", HEAD, HEAD + "\r\n{"])
async def test_who_does_not_go_on_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: str) -> None:
    monkeypatch.setattr(connections, "_FIRST_REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(server, "_BODY_SECONDS", 0.2)
    async with webhook(tmp_path) as running:
        reader, writer = await connect(running)
        writer.write(sent.encode())
        async with asyncio.timeout(10):
            answered = await reader.read()
        writer.close()
        assert b"200" not in answered[:20]
        assert (await running.post(review(pod())))[0] == 200


async def test_who_asked_once_may_ask_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_FIRST_REQUEST_SECONDS", 0.1)
    async with webhook(tmp_path) as running:
        body = review(pod())
        reader, writer = await connect(running)
        request = HEAD.replace("100", str(len(body))).encode() + b"\r\n" + body
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.3
        while loop.time() < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
        writer.close()


async def test_there_are_not_more_connections_than_it_can_bear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    async with webhook(tmp_path) as running:
        opened = [await connect(running) for _ in range(2)]
        async with asyncio.timeout(10):
            assert await is_ended_at_once(running)
        for _, writer in opened:
            writer.close()


async def test_connections_that_closed_before_their_first_request_no_longer_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    async with webhook(tmp_path) as running:
        async with asyncio.timeout(5):
            for _ in range(6):
                _, writer = await connect(running)
                writer.close()
                await writer.wait_closed()
            while True:
                try:
                    assert (await running.post(review(pod())))[0] == 200
                    break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.01)  # The other end hears of it a moment later.


async def test_a_renewed_certificate_is_used_by_the_next_connection(tmp_path: Path) -> None:
    async with webhook(tmp_path) as running:
        certificate, key = write_certificate(tmp_path, 2)
        running.tls.load_cert_chain(certificate, key)
        trust = ssl.create_default_context(cafile=str(certificate))
        _, writer = await asyncio.open_connection("127.0.0.1", running.port, ssl=trust, server_hostname=NAME)
        assert writer.get_extra_info("peercert")["serialNumber"] == "02"
        writer.close()


async def test_a_port_in_use_is_an_error(tmp_path: Path) -> None:
    async with webhook(tmp_path) as running:
        with pytest.raises(OSError):
            async with running_webhook(reviewers(), tls=running.tls, host="127.0.0.1", port=running.port):
                pass
