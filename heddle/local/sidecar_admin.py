"""Questions to a sidecar's admin interface, on its unix socket."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote

_TIMEOUT_SECONDS: Final = 2.0
_LISTENERS: Final = r"^listener_manager\.(lds\.update_success|total_listeners_warming|workers_started)$"
_IN_FLIGHT: Final = r"^http\.inbound.*\.downstream_rq_active$"
_STAT: Final = re.compile(rb"^([\w.|;:-]+): (\d+)\s*$", re.MULTILINE)


class SidecarSilent(Exception):
    """The sidecar does not answer (yet, or any more)."""


class SidecarAdmin:
    """One sidecar's admin interface. Every method raises SidecarSilent where nobody answers within 2 s."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def is_ready(self) -> bool:
        """Whether its first configuration is in force: it has listeners, and they are open."""
        status, _ = await self._ask("GET", "/ready")
        if status != 200:
            return False
        found = await self._stats(_LISTENERS)
        return (
            found.get("listener_manager.lds.update_success", 0) > 0
            and found.get("listener_manager.total_listeners_warming", 0) == 0
            and found.get("listener_manager.workers_started", 0) == 1
        )

    async def drain_inbound(self) -> None:
        """Has it ask its callers to go elsewhere: requests are still served, connections close after them."""
        await self._ask("POST", "/drain_listeners?inboundonly&graceful")

    async def requests_in_flight(self) -> int:
        """How many requests its application is at, as far as the sidecar sees requests."""
        return sum((await self._stats(_IN_FLIGHT)).values())

    async def _stats(self, pattern: str) -> dict[str, int]:
        _, body = await self._ask("GET", f"/stats?filter={quote(pattern)}")
        return {match[1].decode(): int(match[2]) for match in _STAT.finditer(body)}

    async def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    request = (
                        f"{method} {path} HTTP/1.1\r\nHost: sidecar\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    )
                    writer.write(request.encode())
                    head = await reader.readuntil(b"\r\n\r\n")
                    body = await reader.read()
                finally:
                    writer.close()
            status = int(head.split(maxsplit=2)[1])
            return status, _dechunk(body) if b"chunked" in head.lower() else body
        except (OSError, ValueError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise SidecarSilent(str(error)) from error


def _dechunk(body: bytes) -> bytes:
    """The content of a body in HTTP/1.1 chunks. Raises ValueError if it is none."""
    content = bytearray()
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        content += rest[:length]
        body = rest[length + 2 :] if length else b""
    return bytes(content)
