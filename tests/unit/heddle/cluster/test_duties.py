"""Duties: together, and only while this replica leads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from heddle.cluster.duties import Alone, LeaderOnly, run_duties


@dataclass
class Recorded:
    """A duty that notes when it runs."""

    log: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        self.note("begun")
        try:
            await asyncio.Event().wait()
        finally:
            self.note("ended")

    def note(self, what: str) -> None:
        self.log.append(what)
        self.changed.set()

    async def until(self, what: list[str]) -> None:
        async with asyncio.timeout(10):
            while self.log != what:
                self.changed.clear()
                await self.changed.wait()


class Broken:
    async def run(self) -> None:
        raise LookupError("broken")


@dataclass
class Switched:
    """Leads when it is told to."""

    leading: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def until(self, leading: bool) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.leading is leading)

    async def switch(self, leading: bool) -> None:
        async with self.changed:
            self.leading = leading
            self.changed.notify_all()


async def test_the_leader_alone_does_it_and_stops_when_it_is_none() -> None:
    duty, leadership = Recorded(), Switched()
    task = asyncio.create_task(LeaderOnly([duty], leadership).run())
    for _ in range(2):
        duty.log.clear()
        await asyncio.sleep(0)
        assert duty.log == []
        await leadership.switch(True)
        await duty.until(["begun"])
        await leadership.switch(False)
        await duty.until(["begun", "ended"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_alone_leads_from_the_start() -> None:
    duty = Recorded()
    task = asyncio.create_task(LeaderOnly([duty], Alone()).run())
    await duty.until(["begun"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert duty.log == ["begun", "ended"]


async def test_what_a_duty_raises_ends_them_all() -> None:
    duty = Recorded()
    with pytest.raises(ExceptionGroup) as raised:
        await LeaderOnly([duty, Broken()], Alone()).run()
    assert raised.group_contains(LookupError)
    with pytest.raises(ExceptionGroup):
        await run_duties([duty, Broken()])
    assert duty.log == ["begun", "ended"] * 2


async def test_nothing_to_do_takes_no_time() -> None:
    task = asyncio.create_task(LeaderOnly([], Alone()).run())
    for _ in range(10):
        await asyncio.sleep(0)
    waiting = {each for each in asyncio.all_tasks() if each is not asyncio.current_task()}
    for _ in range(10):
        await asyncio.sleep(0)
    # None of them was made anew.
    assert waiting == {each for each in asyncio.all_tasks() if each is not asyncio.current_task()}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
