"""Between one stream's wire and its state machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from xds.alarm import Alarm
from xds.protocol import Stream
from xds.wire import DeltaRequest, SotwRequest

SEND_WITHIN = timedelta(seconds=10)
"""A client that reads nothing for so long is cut off."""
READS_AT_ONCE = 2
"""Requests come before pushes, but so many at most where both could go on: Istio's measure."""
LOOK_AGAIN = timedelta(seconds=1)
"""After that: a process that had no time for its streams for as long may only not have seen what they read."""
STUCK_PAUSE = timedelta(seconds=1)
"""What is due and cannot be done is looked at again after this."""
_NEVER = datetime.max.replace(tzinfo=UTC)


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

    __slots__ = (
        "_awake", "_due", "_fault", "_late", "_now", "_parse", "_reason", "_resting", "_served", "_slow", "_wire",
        "stream",
    )  # fmt: skip

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
        self._due = datetime.min.replace(tzinfo=UTC)
        """When the stream is to be told the time, if not before."""
        self._awake = False
        """Something has happened since the writer last looked."""
        self._resting: asyncio.Future[None] | None = None
        """What it waits for, if it does."""
        self._reason = ""
        self._fault: Exception | None = None
        """What a request led to: the client's fault, or ours."""
        self._late = False
        """The message that is being written has taken as long as it may."""
        self._slow = False
        """So has the look after that: the client does not read."""

    def wake(self) -> None:
        """Something changed for this stream."""
        self._awake = True
        if self._resting is not None and not self._resting.done():
            self._resting.set_result(None)

    def end(self, reason: str) -> None:
        """Ends the stream after the message that is being written."""
        self._reason = self._reason or reason
        self.wake()

    async def run(self) -> str:
        """Why the stream ended. Raises what a request led to: NotARequest or Violation by the client's fault;
        TimeoutError if the client does not read."""
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read())
            # A task of its own, so that what woke it does not pass through everything that called this.
            writing = tasks.create_task(self._write())
            writing.add_done_callback(lambda _: reading.cancel())
        if self._slow:
            raise TimeoutError("the client does not read")
        if writing.cancelled():
            raise asyncio.CancelledError
        if self._fault is not None:
            raise self._fault
        return self._reason

    async def _read(self) -> None:
        reads = 0
        while (raw := await self._wire.read()) is not None:
            try:
                self.stream.receive(self._parse(raw), self._now())
            except Exception as error:  # raised by `run` then: while a message is written gRPC can say nothing else
                self._fault = error
                self.end("fault")
                return
            if not self.stream.is_quiet() or self.stream.excessive:
                self.wake()
            elif self.stream.acknowledged(0):
                self._served()
            reads += 1
            if reads % READS_AT_ONCE == 0 and self._awake:
                await asyncio.sleep(0)
        self.end("client")

    async def _write(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        waking = Alarm(self.wake)
        sending: Alarm = Alarm(lambda: self._look(sending, task))
        try:
            while not self._reason:
                self._awake = False
                now = self._now()
                told = now >= self._due or self.stream.restless
                if told:
                    self.stream.tick(now)
                    self._due = now + STUCK_PAUSE
                busy = not self.stream.is_quiet()
                if self.stream.excessive:
                    self.end("mode")
                elif busy and self.stream.prepare(now):
                    await asyncio.sleep(0)
                elif busy and (response := self.stream.next(now)) is not None:
                    # Others work out what they send first: messages that are written right after one another wake
                    # gRPC's threads less often, which is a tenth of what a change costs for a thousand streams.
                    await asyncio.sleep(0)
                    if not self._reason:
                        self._late = False
                        sending.set(SEND_WITHIN.total_seconds())
                        await self._wire.write(response)
                        sending.unset()
                else:
                    if self.stream.acknowledged(0):
                        self._served()
                    await self._rest(waking, now, told=told)
        finally:
            waking.close()
            sending.close()

    def _look(self, sending: Alarm, task: asyncio.Task[Any]) -> None:
        if self._late:
            self._slow = True
            task.cancel()
        else:
            self._late = True
            sending.set(LOOK_AGAIN.total_seconds())

    async def _rest(self, waking: Alarm, now: datetime, *, told: bool) -> None:
        at = self.stream.wake_at()
        self._due = at or _NEVER
        if at is None:
            waking.unset()
        elif at <= now and not told:
            return
        else:
            waking.set((at - now if at > now else STUCK_PAUSE).total_seconds())
        if not self._awake:
            self._resting = asyncio.get_running_loop().create_future()
            try:
                await self._resting
            finally:
                self._resting = None
