"""The webhooks' own certificate: of the mesh's authority, renewed at half its life, and never on a disk."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import structlog

from sds.authority import Authority
from sds.signing import IssuedCertificate, issue_server

LIFE: Final = timedelta(days=1)
CHECK_SECONDS: Final = 30.0
"""How often the clock is looked at: one long wait would be wrong after a suspend."""

_log = structlog.get_logger()


class WebhookCertificate:
    """`tls` always has a certificate that is good. Renewing it ends no connection: the next handshake has the new one.

    It is signed anew at half its life, and as soon as another authority signs. `authority` may raise at no time.
    """

    def __init__(
        self,
        authority: Callable[[], Authority],
        *,
        dns_names: Sequence[str],
        host: str,
        now: Callable[[], datetime],
        life: timedelta = LIFE,
    ) -> None:
        self._authority = authority
        self._dns_names = tuple(dns_names)
        self._addresses = _addresses(host)
        self._now = now
        self._life = life
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._held = self._issue()

    async def run(self) -> None:
        """See `duties.Duty`."""
        while True:
            await asyncio.sleep(min(CHECK_SECONDS, self._life.total_seconds() / 20))
            self.renew_if_due()

    def renew_if_due(self) -> bool:
        """Renews it if it is time to; whether it was."""
        held, now = self._held, self._now()
        spent = now - held.issued_at
        # A clock that was set back does not make it due; one that was set far back makes it invalid.
        if held.not_before <= now and spent < self._life / 2 and held.issuer == self._authority().issuer:
            return False
        self._held = self._issue()
        _log.info("webhook.certificate_renewed", serial=self._held.serial, until=self._held.not_after.isoformat())
        return True

    def _issue(self) -> IssuedCertificate:
        issued = issue_server(
            self._authority(),
            dns_names=self._dns_names,
            ip_addresses=self._addresses,
            now=self._now(),
            life=self._life,
        )
        _load(self.tls, issued.certificate_chain + issued.private_key)
        return issued


def webhook_names(namespace: str, revision: str) -> tuple[str, ...]:
    """The names by which an API server may call: of the Service `heddle`, or of one named after the revision."""
    return tuple(f"{service}.{namespace}.svc" for service in dict.fromkeys(("heddle", revision)))


def _addresses(host: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """The address that is listened on, unless it is all of them or a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return ()
    return () if address.is_unspecified else (address,)


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Python loads certificates from files only; this one is in memory, and gone when it is closed."""
    descriptor = os.memfd_create("webhook-certificate")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
