"""The line of streams that wait to be served for the first time.

A herd that reconnects at once would have everything built, and held in memory, for all of it at once, and the last of
it served when the first is. Here a few are served at a time, the oldest first, and nobody is sent away.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

PLACES = 64
HOLD = timedelta(seconds=0.5)
"""With PLACES: at least 128 streams a second, though no client answers. One that does leaves its place at once."""


class Place:
    """A stream's turn. `leave` may be called again and again."""

    __slots__ = ("_places", "_timer")

    def __init__(self, places: asyncio.Semaphore, hold: timedelta) -> None:
        self._places: asyncio.Semaphore | None = places
        self._timer = asyncio.get_running_loop().call_later(hold.total_seconds(), self.leave)

    def leave(self) -> None:
        """It was served, or has ended: the next may come."""
        if self._places is not None:
            self._places.release()
            self._places = None
            self._timer.cancel()


class FirstBuilds:
    """`places` streams at a time, each for `hold` at most."""

    __slots__ = ("_hold", "_places")

    def __init__(self, places: int = PLACES, hold: timedelta = HOLD) -> None:
        self._places = asyncio.Semaphore(places)
        self._hold = hold

    async def turn(self) -> Place:
        """Returns when it is this stream's turn."""
        await self._places.acquire()
        return Place(self._places, self._hold)
