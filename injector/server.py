"""The webhook's server: HTTPS, one path, and patience with nobody."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import structlog
from aiohttp import web

from injector.admission_review import BadReview, ReviewAnswer, ReviewRequest, answer_review, parse_review, to_json
from injector.bootstrap_text import warm_up
from injector.settings import InjectionSettings

MAX_BODY: Final = 6 << 20
"""Bytes of a review: twice what an API server takes in one object, whose old version it may carry too. As Istio."""

MAX_CONNECTIONS: Final = 512
_BODY_SECONDS: Final = 10.0
_HANDSHAKE_SECONDS: Final = 5.0
_FIRST_REQUEST_SECONDS: Final = 10.0
_KEPT_ALIVE_SECONDS: Final = 75.0
_log = structlog.get_logger()


class Namespaces(Protocol):
    """What is known of namespaces."""

    async def labels_of(self, namespace: str) -> Mapping[str, str] | None:
        """Its labels, None if there is no such namespace as far as one knows. May wait a moment to find out."""


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For `running_webhook`. `load_cert_chain` again renews the certificate: the next handshake has the new one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


@asynccontextmanager
async def running_webhook(
    settings: InjectionSettings, namespaces: Namespaces, *, tls: ssl.SSLContext, host: str, port: int
) -> AsyncIterator[int]:
    """Serves POST `/inject` as long as the block lasts; the port (0: any) is what it yields.

    Raises OSError if the port cannot be bound.
    """
    warm_up(settings)
    webhook = _Webhook(settings, namespaces)
    application = web.Application()
    application.router.add_post("/inject", webhook.inject)
    runner = web.AppRunner(
        application, access_log=None, keepalive_timeout=_KEPT_ALIVE_SECONDS, handle_signals=False, shutdown_timeout=5.0
    )
    await runner.setup()
    assert runner.server is not None
    limited = _Limited(runner.server, webhook)
    server = await asyncio.get_running_loop().create_server(
        limited.connect, host, port, ssl=tls, ssl_handshake_timeout=_HANDSHAKE_SECONDS
    )
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await runner.cleanup()


class _Webhook:
    def __init__(self, settings: InjectionSettings, namespaces: Namespaces) -> None:
        self._settings = settings
        self._namespaces = namespaces
        self.silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        """Connections that no request has come on, with what will end them."""

    async def inject(self, request: web.Request) -> web.Response:
        if (timer := self.silent.pop(request.protocol, None)) is not None:
            timer.cancel()
        if request.content_type != "application/json":
            return _plain(415, "the body must be application/json")
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await _read_body(request)
        except TimeoutError:
            request.protocol.force_close()
            return _plain(408, f"the body did not come within {_BODY_SECONDS:g} seconds")
        if body is None:
            return _plain(413, f"the body has more than {MAX_BODY} bytes")
        try:
            asked = parse_review(body)
        except BadReview as bad:
            _log.warning("injector.bad_review", peer=request.remote, reason=str(bad))
            return _plain(400, str(bad))
        answer = await self._answer(asked)
        return web.Response(body=to_json(answer), content_type="application/json")

    async def _answer(self, asked: ReviewRequest) -> ReviewAnswer:
        labels = await self._namespaces.labels_of(asked.namespace) if asked.pod is not None else {}
        answer = answer_review(asked, labels, self._settings)
        if not answer.allowed:
            _log.warning("injector.refused", namespace=asked.namespace, uid=asked.uid, reason=answer.message)
        elif answer.decision is not None:
            why = answer.decision.why
            _log.info("injector.decided", namespace=asked.namespace, inject=answer.decision.inject, why=str(why))
        return answer


class _Limited:
    """Hands connections to the HTTP server, not too many, and ends those on which no request comes.

    aiohttp bounds the wait for a later request of a connection and not for the first.
    """

    def __init__(self, server: web.Server, webhook: _Webhook) -> None:
        self._server = server
        self._webhook = webhook

    def connect(self) -> asyncio.Protocol:
        silent = self._webhook.silent
        # Those whose handshake is under way are only among the silent.
        if max(len(self._server.connections), len(silent)) >= MAX_CONNECTIONS:
            _log.warning("injector.too_many_connections", limit=MAX_CONNECTIONS)
            return _Refused()
        protocol = self._server()
        silent[protocol] = asyncio.get_running_loop().call_later(_FIRST_REQUEST_SECONDS, self._end, protocol)
        return protocol

    def _end(self, protocol: web.RequestHandler) -> None:
        del self._webhook.silent[protocol]
        protocol.force_close()


class _Refused(asyncio.Protocol):
    """A connection that is ended as soon as it is one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _read_body(request: web.Request) -> bytes | None:
    """None if it is too long."""
    if (request.content_length or 0) > MAX_BODY:
        return None
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n")
