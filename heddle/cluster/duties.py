"""What a control plane does for its cluster besides serving sidecars: some of it on every replica, some on the leader.

A duty ends only when it is cancelled; what it raises ends the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol


class Duty(Protocol):
    """One of them."""

    async def run(self) -> None:
        """Until cancelled. It may be run again after that."""


class Leadership(Protocol):
    """Whether this replica is the one that writes. It is a duty itself: somebody must ask for it and keep it."""

    async def run(self) -> None:
        """Until cancelled."""

    async def until(self, leading: bool) -> None:
        """Returns as soon as this replica leads (True), or leads no longer (False)."""


class Alone:
    """Leads always: there is no other replica, or whatever is done is safe to be done twice."""

    async def run(self) -> None:
        """See `Leadership`."""
        await asyncio.Event().wait()

    async def until(self, leading: bool) -> None:
        """See `Leadership`."""
        if not leading:
            await asyncio.Event().wait()


class LeaderOnly:
    """Duties that run while this replica leads, and end as soon as it does not."""

    def __init__(self, duties: Iterable[Duty], leadership: Leadership) -> None:
        self._duties = tuple(duties)
        self._leadership = leadership

    async def run(self) -> None:
        """See `Duty`."""
        while True:
            await self._leadership.until(True)
            running = asyncio.create_task(run_duties(self._duties))
            losing = asyncio.create_task(self._leadership.until(False))
            try:
                await asyncio.wait((running, losing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                running.cancel()
                losing.cancel()
                # Not `await running`: its cancellation and our own would look alike, and ours must not be lost.
                await asyncio.wait((running, losing))
            for task in (running, losing):
                if not task.cancelled():
                    task.result()


async def run_duties(duties: Iterable[Duty]) -> None:
    """All of them, until cancelled or until one raises; then the others end too. Raises an ExceptionGroup."""
    async with asyncio.TaskGroup() as tasks:
        for duty in duties:
            tasks.create_task(duty.run(), name=type(duty).__name__)
        # Without any duty, too, this is one that does not end.
        await asyncio.Event().wait()
