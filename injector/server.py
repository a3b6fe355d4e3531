"""The webhooks' server: HTTPS, a path for each, and patience with nobody."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import structlog
from aiohttp import web

from injector.admission_review import BadReview, ReviewAnswer, ReviewRequest, parse_review, to_json

MAX_BODY: Final = 6 << 20
"""Bytes of a review: twice what an API server takes in one object, whose old version it may carry too. As Istio."""

LARGE: Final = 64 << 10
"""Bytes of a review that takes so long to read that it is read in a thread: more than a millisecond."""

MAX_CONNECTIONS: Final = 512
_BODY_SECONDS: Final = 10.0
_HANDSHAKE_SECONDS: Final = 5.0
_FIRST_REQUEST_SECONDS: Final = 10.0
_KEPT_ALIVE_SECONDS: Final = 75.0
_log = structlog.get_logger()


class Reviewer(Protocol):
    """Answers what is asked on one path."""

    async def review(self, asked: ReviewRequest) -> ReviewAnswer:
        """The answer. It must not keep others waiting: what takes long is done in a thread."""


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For `running_webhook`. `load_cert_chain` again renews the certificate: the next handshake has the new one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


@asynccontextmanager
async def running_webhook(
    reviewers: Mapping[str, Reviewer], *, tls: ssl.SSLContext, host: str, port: int
) -> AsyncIterator[int]:
    """Serves POST on the paths of `reviewers` as long as the block lasts; the port (0: any) is what it yields.

    Raises OSError if the port cannot be bound.
    """
    webhook = _Webhook(reviewers)
    application = web.Application()
    for path in reviewers:
        application.router.add_post(path, webhook.answer)
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
    def __init__(self, reviewers: Mapping[str, Reviewer]) -> None:
        self._reviewers = reviewers
        self.silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        """Connections that no request has come on, with what will end them."""

    async def answer(self, request: web.Request) -> web.Response:
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
            # Decoding a long one takes as long as many short ones.
            asked = parse_review(body) if len(body) <= LARGE else await asyncio.to_thread(parse_review, body)
        except BadReview as bad:
            _log.warning("webhook.bad_review", path=request.path, peer=request.remote, reason=str(bad))
            return _plain(400, str(bad))
        answer = await self._reviewers[request.path].review(asked)
        return web.Response(body=to_json(answer), content_type="application/json")


class _Limited:
    """Hands connections to the HTTP server, not too many, and ends those on which no request comes.

    aiohttp bounds the wait for a later request of a connection and not for the first.
    """

    def __init__(self, server: web.Server, webhook: _Webhook) -> None:
        self._server = server
        self._webhook = webhook

    def connect(self) -> asyncio.Protocol:
        silent = self._webhook.silent
        for protocol in [one for one in silent if _has_closed(one)]:
            silent.pop(protocol).cancel()
        # Those whose handshake is under way, or has failed, are only among the silent: nobody is told of the latter.
        if max(len(self._server.connections), len(silent)) >= MAX_CONNECTIONS:
            _log.warning("webhook.too_many_connections", limit=MAX_CONNECTIONS)
            return _Refused()
        protocol = self._server()
        silent[protocol] = asyncio.get_running_loop().call_later(_FIRST_REQUEST_SECONDS, self._end, protocol)
        return protocol

    def _end(self, protocol: web.RequestHandler) -> None:
        del self._webhook.silent[protocol]
        protocol.force_close()


def _has_closed(protocol: asyncio.BaseProtocol) -> bool:
    """Whether a connection was there and is gone. aiohttp has no other sign that differs from one not there yet."""
    return getattr(protocol, "_manager", protocol) is None


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
