"""Bounds on the connections of an HTTPS server: not too many, and none on which no request comes."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from aiohttp import web

HANDSHAKE_SECONDS: Final = 5.0
"""How long TLS may take, for whoever makes the server."""

_FIRST_REQUEST_SECONDS: Final = 10.0
_log = structlog.get_logger()


class LimitedConnections:
    """Hands connections to the HTTP server, at most `limit` at a time, and ends those on which no request comes.

    `name` is the server's, for the log. aiohttp bounds the wait for a later request of a connection, not for the first.
    """

    def __init__(self, server: web.Server, *, name: str, limit: int) -> None:
        self._server = server
        self._name = name
        self._limit = limit
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        """Connections that no request has come on, with what will end them."""

    def connect(self) -> asyncio.Protocol:
        """A protocol for a new connection."""
        for protocol in [one for one in self._silent if _has_closed(one)]:
            self._silent.pop(protocol).cancel()
        # Those whose handshake is under way, or has failed, are only among the silent: nobody is told of the latter.
        if max(len(self._server.connections), len(self._silent)) >= self._limit:
            _log.warning("connections.too_many", server=self._name, limit=self._limit)
            return _Refused()
        protocol = self._server()
        self._silent[protocol] = asyncio.get_running_loop().call_later(_FIRST_REQUEST_SECONDS, self._end, protocol)
        return protocol

    def heard(self, request: web.Request) -> None:
        """A request has come on its connection. Every handler says so."""
        if (timer := self._silent.pop(request.protocol, None)) is not None:
            timer.cancel()

    def _end(self, protocol: web.RequestHandler) -> None:
        del self._silent[protocol]
        protocol.force_close()


def _has_closed(protocol: asyncio.BaseProtocol) -> bool:
    """Whether a connection was there and is gone. aiohttp has no other sign that differs from one not there yet."""
    return getattr(protocol, "_manager", protocol) is None


class _Refused(asyncio.Protocol):
    """A connection that is ended as soon as it is one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
