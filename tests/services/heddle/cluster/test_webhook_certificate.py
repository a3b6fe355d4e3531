"""The webhooks' certificate: whose it is, and when it is renewed."""

from __future__ import annotations

import asyncio
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from heddle.cluster.webhook_certificate import WebhookCertificate, webhook_names
from sds.authority import Authority, create_authority

NAMES = webhook_names("heddle-system", "heddle-canary")
HOUR = timedelta(hours=1)


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now


class Changing:
    """An authority that may be replaced."""

    def __init__(self, clock: Clock) -> None:
        self.authority = create_authority(trust_domain="a.b", now=clock()).authority

    def __call__(self) -> Authority:
        return self.authority


async def presented(certificate: WebhookCertificate, bundle: bytes, name: str = NAMES[0]) -> x509.Certificate:
    """The certificate of a new handshake, by a client that trusts `bundle` and wants `name`."""
    trust = ssl.create_default_context(cadata=bundle.decode())
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=certificate.tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=name)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        await reader.read()
        writer.close()
        return x509.load_der_x509_certificate(der)


async def test_it_is_of_the_authority_and_for_the_service() -> None:
    clock = Clock()
    authority = Changing(clock)
    certificate = WebhookCertificate(authority, dns_names=NAMES, host="127.0.0.1", now=clock)
    bundle = authority.authority.trust_bundle
    for name in (*NAMES, "127.0.0.1"):
        await presented(certificate, bundle, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        await presented(certificate, bundle, "heddle.elsewhere.svc")
    stranger = create_authority(trust_domain="a.b", now=clock()).authority
    with pytest.raises(ssl.SSLCertVerificationError):
        await presented(certificate, stranger.trust_bundle)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost"])
async def test_all_addresses_are_no_name(host: str) -> None:
    clock = Clock()
    authority = Changing(clock)
    certificate = WebhookCertificate(authority, dns_names=NAMES, host=host, now=clock)
    found = await presented(certificate, authority.authority.trust_bundle)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == []


async def test_it_is_renewed_at_half_its_life() -> None:
    clock = Clock()
    clock.now -= 13 * HOUR
    authority = Changing(clock)
    certificate = WebhookCertificate(authority, dns_names=NAMES, host="::", now=clock, life=24 * HOUR)
    bundle = authority.authority.trust_bundle
    first = await presented(certificate, bundle)
    clock.now += 12 * HOUR - timedelta(seconds=1)
    assert not certificate.renew_if_due()
    clock.now -= HOUR
    assert not certificate.renew_if_due()
    clock.now += HOUR + timedelta(seconds=1)
    assert certificate.renew_if_due()
    assert not certificate.renew_if_due()
    assert (await presented(certificate, bundle)).serial_number != first.serial_number


async def test_a_clock_that_was_set_far_back_finds_one_that_is_not_valid_yet() -> None:
    clock = Clock()
    authority = Changing(clock)
    clock.now += 20 * HOUR
    certificate = WebhookCertificate(authority, dns_names=NAMES, host="::", now=clock)
    clock.now -= 20 * HOUR
    assert certificate.renew_if_due()
    await presented(certificate, authority.authority.trust_bundle)


async def test_another_authority_signs_at_once() -> None:
    clock = Clock()
    authority = Changing(clock)
    certificate = WebhookCertificate(authority, dns_names=NAMES, host="::", now=clock)
    authority.authority = create_authority(trust_domain="a.b", now=clock()).authority
    assert certificate.renew_if_due()
    await presented(certificate, authority.authority.trust_bundle)


async def test_a_connection_outlives_the_certificate() -> None:
    clock = Clock()
    authority = Changing(clock)
    certificate = WebhookCertificate(authority, dns_names=NAMES, host="::", now=clock)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=certificate.tls)
    trust = ssl.create_default_context(cadata=authority.authority.trust_bundle.decode())
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=NAMES[0])
        for _ in range(3):
            authority.authority = create_authority(trust_domain="a.b", now=clock()).authority
            assert certificate.renew_if_due()
            writer.write(b"still here\n")
            assert await reader.readline() == b"still here\n"
        writer.close()
        await writer.wait_closed()


def test_nothing_of_it_is_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    clock = Clock()
    before = set(os.listdir("/proc/self/fd"))
    WebhookCertificate(Changing(clock), dns_names=NAMES, host="::", now=clock)
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_names() -> None:
    assert webhook_names("mesh", "heddle") == ("heddle.mesh.svc",)
    assert webhook_names("mesh", "heddle-canary") == ("heddle.mesh.svc", "heddle-canary.mesh.svc")
