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
from injector.connections import HANDSHAKE_SECONDS, LimitedConnections

MAX_BODY: Final = 6 << 20
"""Bytes of a review: twice what an API server takes in one object, whose old version it may carry too. As Istio."""

LARGE: Final = 64 << 10
"""Bytes of a review that takes so long to read that it is read in a thread: more than a millisecond."""

MAX_CONNECTIONS: Final = 512
_BODY_SECONDS: Final = 10.0
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
    limited = webhook.connections = LimitedConnections(runner.server, name="webhook", limit=MAX_CONNECTIONS)
    server = await asyncio.get_running_loop().create_server(
        limited.connect, host, port, ssl=tls, ssl_handshake_timeout=HANDSHAKE_SECONDS
    )
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await runner.cleanup()


class _Webhook:
    def __init__(self, reviewers: Mapping[str, Reviewer]) -> None:
        self._reviewers = reviewers
        self.connections: LimitedConnections | None = None

    async def answer(self, request: web.Request) -> web.Response:
        if self.connections is not None:
            self.connections.heard(request)
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
