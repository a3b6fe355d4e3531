"""A timer that is set far more often than it rings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_TOLERANCE_SECONDS = 0.005


class Alarm:
    """Rings once at the time it was last set to, in seconds of the event loop's clock.

    The timer of before is kept where it ends no later: it looks then what is wanted by now. To set an alarm costs next
    to nothing, which a timer for each message does not.
    """

    __slots__ = ("_at", "_loop", "_ring", "_timer")

    def __init__(self, ring: Callable[[], object]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """So many seconds from now, whatever it was set to before."""
        at = self._at = self._loop.time() + seconds
        if self._timer is None or at < self._timer.when() - _TOLERANCE_SECONDS:
            self.close()
            self._at = at
            self._timer = self._loop.call_at(at, self._look)

    def unset(self) -> None:
        """It does not ring."""
        self._at = None

    def close(self) -> None:
        """For good, unless it is set again."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._at is None:
            return
        left = self._at - self._loop.time()
        if left <= _TOLERANCE_SECONDS:
            self._at = None
            self._ring()
        else:
            self._timer = self._loop.call_later(left, self._look)
