"""Between one stream's wire and its state machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from xds.protocol import Stream
from xds.violation import Fault, Violation
from xds.wire import DeltaRequest, SotwRequest

SEND_WITHIN = timedelta(seconds=10)
"""A client that reads nothing for so long is cut off."""
READS_AT_ONCE = 2
"""Requests come before pushes, but so many at most where both could go on: Istio's measure."""
STUCK_PAUSE = timedelta(seconds=1)
"""What is due and cannot be done is looked at again after this."""


class Wire(Protocol):
    """Whole messages in and out."""

    async def read(self) -> bytes | None:
        """The next message, None at the end."""

    async def write(self, message: bytes) -> None:
        """Returns when the message has left for the client's flow control."""


class Pump:
    """Moves one stream until it ends. `end` may be called at any time from the same event loop.

    `served` is called whenever the client has everything and said so.
    """

    __slots__ = ("_fault", "_now", "_parse", "_reason", "_served", "_wake", "_wire", "stream")

    def __init__(
        self,
        *,
        wire: Wire,
        stream: Stream,
        parse: Callable[[bytes], DeltaRequest | SotwRequest],
        now: Callable[[], datetime],
        served: Callable[[], None] = lambda: None,
    ) -> None:
        self.stream = stream
        self._served = served
        self._wire = wire
        self._parse = parse
        self._now = now
        self._wake = asyncio.Event()
        self._reason = ""
        self._fault: Violation | None = None

    def wake(self) -> None:
        """Something changed for this stream."""
        self._wake.set()

    def end(self, reason: str) -> None:
        """Ends the stream after the message that is being written."""
        self._reason = self._reason or reason
        self._wake.set()

    async def run(self) -> str:
        """Why the stream ended. Raises Violation if by the client's fault; TimeoutError if the client does not read."""
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read())
            try:
                slow = await self._write()
            finally:
                reading.cancel()
        if slow:
            raise TimeoutError("the client does not read")
        if self._fault is not None:
            raise self._fault
        return self._reason

    async def _read(self) -> None:
        reads = 0
        while (raw := await self._wire.read()) is not None:
            try:
                self.stream.receive(self._parse(raw), self._now())
            except ValueError as error:
                self._fault = Violation(Fault.INVALID_ARGUMENT, str(error))
            except Violation as violation:
                self._fault = violation
            if self._fault is not None:
                self.end("violation")
                return
            self._wake.set()
            reads += 1
            if reads % READS_AT_ONCE == 0:
                await asyncio.sleep(0)
        self.end("client")

    async def _write(self) -> bool:
        """True if the client was too slow."""
        while not self._reason:
            self._wake.clear()
            self.stream.tick(self._now())
            if self.stream.excessive:
                self.end("mode")
            while not self._reason and (response := self.stream.next(self._now())) is not None:
                try:
                    async with asyncio.timeout(SEND_WITHIN.total_seconds()):
                        await self._wire.write(response)
                except TimeoutError:
                    return True
            if self.stream.acknowledged(0):
                self._served()
            if not self._reason:
                await self._rest()
        return False

    async def _rest(self) -> None:
        timer = None
        at = self.stream.wake_at()
        if at is not None:
            ahead = at - self._now()
            pause = ahead if ahead > timedelta(0) else STUCK_PAUSE
            timer = asyncio.get_running_loop().call_later(pause.total_seconds(), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()
