"""What a control plane does for its cluster besides serving sidecars: some of it on every replica, some on the leader.

A duty ends only when it is cancelled; what it raises ends the process. The leader's are `Leadership`'s, a duty itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol


class Duty(Protocol):
    """One of them."""

    async def run(self) -> None:
        """Until cancelled. It may be run again after that."""


async def run_duties(duties: Iterable[Duty]) -> None:
    """All of them, until cancelled or until one raises; then the others end too. Raises an ExceptionGroup."""
    async with asyncio.TaskGroup() as tasks:
        for duty in duties:
            tasks.create_task(duty.run(), name=type(duty).__name__)
        # Without any duty, too, this is one that does not end.
        await asyncio.Event().wait()
