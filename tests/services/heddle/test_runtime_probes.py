"""Probes against real servers on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from heddle.local.probes import Checker, wait_until_dead, wait_until_started, watch_readiness
from model.pods import ContainerPort, Exec, HttpGet, Probe, TcpSocket

FAST = timedelta(milliseconds=10)


async def connect(port: int, context: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, ssl=context)


async def run_command(command: tuple[str, ...]) -> int:
    return int(command[0])


def checker(port: int = 1) -> Checker:
    ports = (ContainerPort(number=port, name="http"),)
    return Checker(connect=connect, run_command=run_command, host="10.0.0.1", ports=ports)


@asynccontextmanager
async def serving(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 399 Odd\r\n\r\n", True),
        (b"HTTP/1.1 400 Bad\r\n\r\n", False),
        (b"HTTP/1.1 503\r\n\r\n", False),
        (b"SSH-2.0-x\r\n", False),
        (b"HTTP/1.1\r\n", False),
        (b"", False),
    ],
)
async def test_http(answer: bytes, good: bool) -> None:
    async with serving(lambda _: answer) as port:
        assert await checker(port).check(Probe(check=HttpGet(port="http", path="/up"))) is good


async def test_http_sends_what_the_manifest_says() -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return b"HTTP/1.1 204 No\r\n\r\n"

    async with serving(answer) as port:
        get = HttpGet(port=port, path="/up?x=1", headers=(("host", "me"), ("X-A", "b")))
        assert await checker(port).check(Probe(check=get))
    lines = asked[0].decode().split("\r\n")
    assert lines[0] == "GET /up?x=1 HTTP/1.1"
    assert {"host: me", "X-A: b"} <= set(lines)
    assert not any(line.startswith("Host:") for line in lines)


async def test_tcp_exec_and_ports_without_a_number() -> None:
    async with serving(lambda _: b"") as port:
        assert await checker().check(Probe(check=TcpSocket(port=port)))
        assert not await checker().check(Probe(check=TcpSocket(port="grpc")))
    assert not await checker().check(Probe(check=TcpSocket(port=port)))
    assert await checker().check(Probe(check=Exec(command=("0",))))
    assert not await checker().check(Probe(check=Exec(command=("1",))))


async def test_a_check_that_takes_too_long_fails() -> None:
    async def hang(command: tuple[str, ...]) -> int:
        await asyncio.Event().wait()
        return 0

    slow = Checker(connect=connect, run_command=hang, host="10.0.0.1")
    assert not await slow.check(Probe(check=Exec(command=("x",)), timeout=FAST))


def scripted(*statuses: int) -> Checker:
    """Answers in order, the last one for ever."""
    left = list(statuses)

    async def answer(command: tuple[str, ...]) -> int:
        return left.pop(0) if len(left) > 1 else left[0]

    return Checker(connect=connect, run_command=answer, host="10.0.0.1")


async def test_readiness_counts_in_a_row() -> None:
    probe = Probe(check=Exec(command=("x",)), period=FAST, success_threshold=2, failure_threshold=3)
    seen: asyncio.Queue[bool] = asyncio.Queue()
    watching = asyncio.create_task(
        watch_readiness(probe, scripted(1, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1, 0), seen.put_nowait)
    )
    async with asyncio.timeout(10):
        assert [await seen.get() for _ in range(3)] == [True, False, True]
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_startup_has_a_time_that_runs_out() -> None:
    probe = Probe(check=Exec(command=("x",)), period=FAST, failure_threshold=3)
    assert not await wait_until_started(probe, scripted(1))
    patient = Probe(check=Exec(command=("x",)), period=timedelta(seconds=1), failure_threshold=30)
    assert await wait_until_started(patient, scripted(1, 1, 0))


async def test_liveness_ends_after_failures_in_a_row() -> None:
    probe = Probe(check=Exec(command=("x",)), period=FAST, failure_threshold=2)
    async with asyncio.timeout(10):
        await wait_until_dead(probe, scripted(1, 0, 1, 1))
