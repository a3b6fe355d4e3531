"""A container's probes, made from the node: through the pod's front door, as a kubelet's are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from ssl import SSLContext
from typing import Any, Protocol

import grpc

from heddle.local.probes import Checker
from model.pods import ContainerPort, Exec, HttpGet, Probe, TcpSocket

EARLY_PAUSE_SECONDS = 0.02
"""A container that starts is asked this often at first: what is measured is its start, not how seldom it is asked. A
kubelet waits for its period."""
_EARLY_SECONDS = 2.0
_SERVING = b"\x08\x01"
"""grpc.health.v1.HealthCheckResponse with status SERVING."""

RunCommand = Callable[[tuple[str, ...]], Awaitable[int]]


class Checks(Protocol):
    """Makes a probe's check once."""

    async def check(self, probe: Probe) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerProbe:
    """`probe` has the timing; `checks` makes it."""

    probe: Probe
    checks: Checks


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcHealth:
    """Asks the health service of gRPC. Source: grpc.health.v1, `Check`."""

    address: str
    port: int
    service: str

    async def check(self, probe: Probe) -> bool:
        name = self.service.encode()
        request = b"\x0a" + bytes([len(name)]) + name if name else b""
        async with grpc.aio.insecure_channel(f"{self.address}:{self.port}", _OWN_CONNECTION) as channel:
            ask = channel.unary_unary("/grpc.health.v1.Health/Check")
            try:
                answer: bytes = await ask(request, timeout=probe.timeout.total_seconds())
            except grpc.aio.AioRpcError:
                return False
            return answer == _SERVING


_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


async def wait_until_started(startup: ContainerProbe) -> bool:
    """True once the startup probe succeeds, False when its time (period x failure threshold) is up."""
    probe, loop = startup.probe, asyncio.get_running_loop()
    await asyncio.sleep(probe.initial_delay.total_seconds())
    began = loop.time()
    while not await startup.checks.check(probe):
        taken = loop.time() - began
        if taken > (probe.period * probe.failure_threshold).total_seconds():
            return False
        await asyncio.sleep(EARLY_PAUSE_SECONDS if taken < _EARLY_SECONDS else probe.period.total_seconds())
    return True


def parse_probe(
    container: Mapping[str, Any], field: str, *, address: str, run_command: RunCommand
) -> ContainerProbe | None:
    """The probe in a field of a container (`readinessProbe`, ...), aimed at its pod. None: there is none."""
    given = container.get(field)
    if given is None:
        return None
    host = address
    check: HttpGet | TcpSocket | Exec
    if get := given.get("httpGet"):
        headers = tuple((header["name"], header["value"]) for header in get.get("httpHeaders") or ())
        check = HttpGet(
            port=get["port"], path=get.get("path") or "/", scheme=get.get("scheme") or "HTTP", headers=headers
        )
        host = get.get("host") or address
    elif socket := given.get("tcpSocket"):
        check, host = TcpSocket(port=socket["port"]), socket.get("host") or address
    elif command := given.get("exec"):
        check = Exec(command=tuple(command["command"]))
    else:
        asked = given["grpc"]
        probe = _timed(TcpSocket(port=asked["port"]), given)
        health = GrpcHealth(address=address, port=asked["port"], service=asked.get("service") or "")
        return ContainerProbe(probe=probe, checks=health)

    async def connect(port: int, context: SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(host, port, ssl=context, server_hostname=host if context else None)

    ports = tuple(
        ContainerPort(number=port["containerPort"], name=port.get("name") or "")
        for port in container.get("ports") or ()
    )
    checker = Checker(connect=connect, run_command=run_command, host=host, ports=ports)
    return ContainerProbe(probe=_timed(check, given), checks=checker)


def _timed(check: HttpGet | TcpSocket | Exec, given: Mapping[str, Any]) -> Probe:
    return Probe(
        check=check,
        initial_delay=timedelta(seconds=given.get("initialDelaySeconds") or 0),
        period=timedelta(seconds=given.get("periodSeconds") or 10),
        timeout=timedelta(seconds=given.get("timeoutSeconds") or 1),
        success_threshold=given.get("successThreshold") or 1,
        failure_threshold=given.get("failureThreshold") or 3,
    )
