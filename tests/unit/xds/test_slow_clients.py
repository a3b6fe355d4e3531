"""What lies between a stream and its wire: a client that does not read, and timers that are set all the time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from model.asker import Asker
from xds import pump as pumps
from xds.alarm import Alarm
from xds.memo import Memo
from xds.protocol import Stream
from xds.pump import Pump
from xds.readers import Readers
from xds.stream_secrets import NoSecrets
from xds.wire import Node, parse_delta_request


class Wire:
    """Writes that return when they are told to."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.written = 0

    async def read(self) -> bytes | None:
        await asyncio.Event().wait()
        return None

    async def write(self, message: bytes) -> None:
        await self.released.wait()
        self.written += 1


class Talkative(Stream):
    """Has so many responses to send, whatever its client says."""

    __slots__ = ("left",)

    def next(self, now: datetime) -> bytes | None:
        self.left -= 1
        return b"response" if self.left >= 0 else None

    def is_quiet(self) -> bool:
        return self.left <= 0


def pump_with(wire: Wire, responses: int) -> Pump:
    stream = Talkative(
        stream_id="1",
        delta=True,
        node=Node(id="n"),
        asker=Asker(namespace="n", pod="p", service_account="s"),
        memo=Memo(derive=lambda *_: None, names=lambda *_: (), report=print),
        secrets=NoSecrets(),
        report=print,
        readers=Readers(generation=1),
        now=datetime.now(UTC),
    )
    stream.left = responses
    return Pump(wire=wire, stream=stream, parse=parse_delta_request, now=lambda: datetime.now(UTC))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pumps, "SEND_WITHIN", timedelta(seconds=0.1))
    monkeypatch.setattr(pumps, "LOOK_AGAIN", timedelta(seconds=0.05))


def test_a_client_that_does_not_read_is_cut_off() -> None:
    async def run() -> float:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="does not read"):
            await pump_with(Wire(), 1).run()
        return time.monotonic() - began

    assert asyncio.run(run()) >= 0.14


def test_a_client_is_not_blamed_for_a_process_that_had_no_time() -> None:
    async def run() -> tuple[str, int]:
        wire = Wire()
        pump = pump_with(wire, 2)
        running = asyncio.create_task(pump.run())
        for _ in range(5):
            await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251 - other streams keep the process busy
        await asyncio.sleep(0)
        wire.released.set()
        for _ in range(20):
            await asyncio.sleep(0)
        pump.end("shutdown")
        return await running, wire.written

    assert asyncio.run(run()) == ("shutdown", 2)


def test_a_pump_that_is_cancelled_says_so_though_its_client_is_slow() -> None:
    async def run() -> None:
        running = asyncio.create_task(pump_with(Wire(), 1).run())
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(run())


def test_a_write_that_was_cancelled_by_whoever_is_no_good_end() -> None:
    class Cancelled(Wire):
        async def write(self, message: bytes) -> None:
            raise asyncio.CancelledError

    async def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(pump_with(Cancelled(), 1).run(), 5)

    asyncio.run(run())


def test_an_alarm_rings_once_at_the_time_it_was_last_set_to() -> None:
    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        rung: list[float] = []
        began = loop.time()
        alarm = Alarm(lambda: rung.append(loop.time() - began))
        for seconds in (5.0, 0.02, 0.12):
            alarm.set(seconds)
        await asyncio.sleep(0.3)
        alarm.set(0.02)
        alarm.unset()
        await asyncio.sleep(0.1)
        alarm.set(0.02)
        alarm.close()
        await asyncio.sleep(0.1)
        return rung

    (at,) = asyncio.run(run())
    assert at >= 0.11
