"""Duties: together or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from heddle.cluster.duties import run_duties


@dataclass
class Recorded:
    """A duty that notes when it runs."""

    log: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        self.log.append("begun")
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.log.append("ended")


class Broken:
    async def run(self) -> None:
        raise LookupError("broken")


async def test_what_a_duty_raises_ends_them_all() -> None:
    duty = Recorded()
    with pytest.raises(ExceptionGroup) as raised:
        await run_duties([duty, Broken()])
    assert raised.group_contains(LookupError)
    assert duty.log == ["begun", "ended"]


async def test_they_go_on_until_they_are_told_to_end() -> None:
    duties = [Recorded(), Recorded()]
    task = asyncio.create_task(run_duties(duties))
    async with asyncio.timeout(10):
        for duty in duties:
            await duty.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [duty.log for duty in duties] == [["begun", "ended"]] * 2


async def test_without_any_it_goes_on_too() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run_duties([])
