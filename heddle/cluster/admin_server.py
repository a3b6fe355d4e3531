"""What a replica answers about itself in a cluster: HTTPS on a port of its pod, to those who may ask.

Nothing secret is among it. People come through the API server, which takes the header `Authorization` away: the token
is in one of ours. A refusal is shaped as the API server's own are, with a `reason` by which it is told from those.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiohttp import web

from heddle import clock
from heddle.admin import Questions, add_questions
from heddle.cluster.admin_accounts import AdminAccounts
from heddle.cluster.admin_protocol import PROGRESS_PATH, REASON, TOKEN_HEADER
from heddle.cluster.budget import Budget, Spent
from heddle.cluster.replica_progress import ReplicaProgress, to_json
from injector.connections import HANDSHAKE_SECONDS, LimitedConnections
from sds.tokens import CannotTell, TokenRefused

MAX_ANSWER: Final = 32 << 20
"""Bytes. Whoever meets it asks for one kind of resource at a time."""

MAX_CONNECTIONS: Final = 64
_PER_SECOND, _AT_ONCE = 20.0, 8
"""Questions of people; the replica that leads is not kept waiting by them."""
_KEPT_ALIVE_SECONDS: Final = 30.0
_SHUTDOWN_SECONDS: Final = 1.0
_log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def running_admin(
    questions: Questions,
    progress: Callable[[str, int], ReplicaProgress],
    accounts: AdminAccounts,
    *,
    tls: ssl.SSLContext,
    host: str,
    port: int,
) -> AsyncIterator[int]:
    """Serves as long as the block lasts; yields the port (0: any). Raises OSError if it cannot be bound.

    `progress` answers a replica that knows of a process everything up to a change.
    """
    door = _Door(accounts)

    async def tell(request: web.Request) -> web.Response:
        known = progress(request.query.get("process", ""), int(request.query.get("after", "0")))
        return web.json_response(to_json(known))

    @web.middleware
    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await door.let_in(request, handler)

    app = web.Application(middlewares=[let_in], client_max_size=1024)
    add_questions(app, questions)
    app.router.add_get(PROGRESS_PATH, tell)
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=_KEPT_ALIVE_SECONDS,
        handle_signals=False,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    assert runner.server is not None
    door.connections = LimitedConnections(runner.server, name="admin", limit=MAX_CONNECTIONS)
    server = await asyncio.get_running_loop().create_server(
        door.connections.connect, host, port, ssl=tls, ssl_handshake_timeout=HANDSHAKE_SECONDS
    )
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await runner.cleanup()


class _Door:
    """Before every question, also those that do not exist."""

    def __init__(self, accounts: AdminAccounts) -> None:
        self._accounts = accounts
        self._budget = Budget(per_second=_PER_SECOND, at_once=_AT_ONCE, seconds=clock.monotonic)
        self.connections: LimitedConnections | None = None

    async def let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.connections is not None:
            self.connections.heard(request)
        try:
            inquirer = await self._accounts.identify(request.headers.get(TOKEN_HEADER, ""))
        except TokenRefused as refused:
            _log.warning("admin.refused", peer=request.remote, reason=refused.reason)
            return _refusal(403, str(refused))
        except CannotTell as unknown:
            _log.warning("admin.cannot_tell", peer=request.remote, reason=unknown.reason)
            return _refusal(503, str(unknown))
        if inquirer.replica:
            return await self._answer(request, handler)
        try:
            with self._budget.spend():
                _log.info("admin.asked", by=inquirer.name, path=request.path)
                return await self._answer(request, handler)
        except Spent:
            return _refusal(429, "too many questions at once: ask again in a moment")

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            answer = await handler(request)
        except web.HTTPException as error:
            return _refusal(error.status, error.text or error.reason)
        except ValueError as error:
            return _refusal(400, str(error))
        size = len(answer.body) if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else 0
        if size > MAX_ANSWER:
            return _refusal(413, f"the answer has {size} bytes, more than {MAX_ANSWER}: ask for one kind of resource")
        return answer


def _refusal(status: int, message: str) -> web.Response:
    body = {"message": message, "reason": REASON, "code": status}
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")
