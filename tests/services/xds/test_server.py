"""The gRPC end: who is let in, how streams end, and a fan-out to real clients. All on loopback."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest

from bench.simulated_sidecar import METHOD, SimulatedSidecar
from model.asker import Asker
from protos import discovery_pb2 as pb
from protos.type_urls import CLUSTER, ENDPOINT, VIRTUAL_HOST
from tests.services.xds.small_server import (
    SOTW_METHOD,
    TokenIsName,
    accept,
    both,
    derive,
    first_request,
    names,
    refusal,
    serving,
    until,
    world,
)
from xds.demand import DemandLimits
from xds.events import AskedTooMuch, Event, StreamClosed, StreamFailed
from xds.memo import Marks, Memo
from xds.protocol import Stream
from xds.server import AdsServer


@both
async def test_r5_nobody_is_let_in_before_the_first_snapshot(method: str) -> None:
    async with serving() as (server, address):
        assert not server.ready
        assert await refusal(address, method, first_request(method, "me")) is grpc.StatusCode.UNAVAILABLE


@both
async def test_r4_without_a_credential_nothing_is_read(method: str) -> None:
    events: list[Event] = []
    async with serving(events, mesh=world(a="1")) as (_, address):
        assert await refusal(address, method, b"\xff", token="") is grpc.StatusCode.UNAUTHENTICATED
    assert [event.reason for event in events if isinstance(event, StreamClosed)] == ["no token"]


@both
async def test_r4_a_caller_may_not_be_another_node(method: str) -> None:
    async with serving(mesh=world(a="1")) as (_, address):
        assert await refusal(address, method, first_request(method, "you")) is grpc.StatusCode.PERMISSION_DENIED


@both
async def test_r2_r3_what_is_no_request_ends_the_stream_alone(method: str) -> None:
    async with serving(mesh=world(a="1")) as (server, address):
        good = first_request(method, "me")
        for messages in ((b"\xff\xff",), (first_request(method, ""),), (good, b"\xff\xff"), (good, b"")):
            assert await refusal(address, method, *messages) is grpc.StatusCode.INVALID_ARGUMENT
        assert server.state() == ()


@both
@pytest.mark.parametrize("at", [1, 2])
async def test_a_mistake_of_the_core_is_no_fault_of_the_client(
    method: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive, heard = Stream.receive, 0

    def mistaken(self: Stream, *args: Any) -> None:
        nonlocal heard
        heard += 1
        if heard == at:
            raise ValueError("of ours")
        receive(self, *args)

    monkeypatch.setattr(Stream, "receive", mistaken)
    events: list[Event] = []
    async with serving(events, mesh=world(a="1")) as (_, address):
        messages = [first_request(method, "me")] * 2
        assert await refusal(address, method, *messages) is not grpc.StatusCode.INVALID_ARGUMENT
    failed = next(event for event in events if isinstance(event, StreamFailed))
    assert "of ours" in "".join(traceback.format_exception(failed.error))


class Leaving:
    """What gRPC gives a handler, of a client that goes away while the first message to it is written."""

    def __init__(self, request: bytes) -> None:
        self._requests = [request]

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", "Bearer me"),)

    async def read(self) -> bytes:
        return self._requests.pop() if self._requests else await asyncio.Event().wait()

    async def write(self, message: bytes) -> None:
        raise grpc.aio.InternalError("the call has ended")


@both
async def test_r57_a_client_that_leaves_while_it_is_written_to_is_no_error(method: str) -> None:
    events: list[Event] = []
    async with serving(events, mesh=world(a="1")) as (server, _):
        serve = server._delta if method == METHOD else server._sotw
        with pytest.raises(asyncio.CancelledError):  # of which gRPC says nothing
            await serve(None, Leaving(first_request(method, "me")))
        assert not server.state()
    assert [event.reason for event in events if isinstance(event, StreamClosed)] == ["client"]
    assert not [event for event in events if isinstance(event, StreamFailed)]


@both
async def test_one_caller_does_not_take_the_streams_of_all(method: str) -> None:
    """T3 of the security notes: each stream may cost a certificate."""

    async def opened(channel: grpc.aio.Channel, name: str) -> None:
        call = channel.stream_stream(method)(metadata=(("authorization", f"Bearer {name}"),))
        calls.append(call)
        await call.write(first_request(method, name))
        assert await call.read() is not grpc.aio.EOF

    calls: list[Any] = []
    async with serving(mesh=world(a="1"), most_of_one=2) as (server, address):
        async with grpc.aio.insecure_channel(address) as channel:
            await opened(channel, "me")
            await opened(channel, "me")
            assert await refusal(address, method, first_request(method, "me")) is grpc.StatusCode.RESOURCE_EXHAUSTED
            await opened(channel, "you")
            assert len(server.state()) == 3
        # Streams that are over count no more.
        await server.stop(timedelta(0))
        assert not server._present


async def test_a_stream_ends_at_its_age_and_counts_as_well_ended() -> None:
    events: list[Event] = []
    async with serving(events, mesh=world(a="1"), max_age=timedelta(seconds=0.2)) as (server, address):
        assert await refusal(address, METHOD, first_request(METHOD, "me")) is grpc.StatusCode.OK
        assert server.state() == ()
    assert [event.reason for event in events if isinstance(event, StreamClosed)] == ["age"]


async def test_a_taken_port_and_plaintext_off_loopback_are_refused() -> None:
    async with serving(mesh=world()) as (_, address):
        other = AdsServer(memo=Memo(derive=derive, names=names, report=print), admission=TokenIsName(), report=print)
        with pytest.raises(OSError, match="cannot listen"):
            other.listen(address, None)
        with pytest.raises(ValueError, match="not loopback"):
            other.listen("0.0.0.0:0", None)
        await other.stop()


async def test_a_snapshot_reaches_every_stream_and_askers_are_looked_up_anew() -> None:
    events: list[Event] = []
    async with serving(events, mesh=world(a="1", b="label")) as (server, address), asyncio.TaskGroup() as tasks:
        sidecars = [SimulatedSidecar(address, node_id=f"s{number}", token=f"s{number}") for number in range(20)]
        running = [tasks.create_task(sidecar.run()) for sidecar in sidecars]
        async with asyncio.timeout(20):
            for sidecar in sidecars:
                await sidecar.until_count(ENDPOINT, 2)
            before = [(sidecar.versions[CLUSTER]["a"], sidecar.versions[CLUSTER]["b"]) for sidecar in sidecars]
            assert len(set(before)) == 1
            server.publish(world(a="2", b="label"), 2)
            for sidecar in sidecars:
                await sidecar.until(CLUSTER, "a", other_than=before[0][0])
                await sidecar.until(CLUSTER, "b", other_than=before[0][1])
            await until(lambda: all(state.acknowledged(2) for state in server.state()))
        assert {state.asker.labels["app"] for state in server.state()} == {"second"}
        for task in running:
            task.cancel()
    assert len([event for event in events if isinstance(event, StreamClosed)]) == 20


async def test_a_change_visits_its_readers_alone_and_counts_as_acknowledged_by_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    visited: list[str] = []
    visit = Stream.snapshot

    def noted(stream: Stream, marks: Marks) -> bool:
        visited.append(stream.asker.pod)
        return visit(stream, marks)

    monkeypatch.setattr(Stream, "snapshot", noted)
    before = world(a="1", b="1")
    async with serving(mesh=before) as (server, address), grpc.aio.insecure_channel(address) as channel:
        calls = {}
        async with asyncio.timeout(10):
            for name in ("a", "b"):
                calls[name] = call = channel.stream_stream(METHOD)(metadata=(("authorization", f"Bearer {name}"),))
                question = pb.DeltaDiscoveryRequest(type_url=ENDPOINT, resource_names_subscribe=[name])
                question.node.id = name
                await call.write(question.SerializeToString())
                await accept(call)
            await until(lambda: server.acknowledged(1) == 2)
            server.publish(replace(before, services=world(a="2", b="1").services), 2)
            assert visited == ["a"]
            assert (server.acknowledged(2), {each.generation for each in server.state()}) == (1, {2})
            assert [each.acknowledged_generation for each in server.progress()] == [1, 2]
            await accept(calls["a"])
            await until(lambda: server.acknowledged(2) == 2)
            server.publish(replace(before, services=world(a="2", b="2").services), 3)
            assert visited == ["a", "b"]
            await accept(calls["b"])
            await until(lambda: server.acknowledged(3) == 2)


async def test_the_stream_of_a_pod_that_is_gone_ends() -> None:
    events: list[Event] = []
    admission = TokenIsName()
    async with serving(events, mesh=world(a="1"), admission=admission) as (server, address):
        sidecars = {name: SimulatedSidecar(address, node_id=name, token=name) for name in ("stays", "goes")}
        running = {name: asyncio.create_task(sidecar.run()) for name, sidecar in sidecars.items()}
        async with asyncio.timeout(10):
            for sidecar in sidecars.values():
                await sidecar.until_count(ENDPOINT, 1)
            await until(lambda: all(state.acknowledged(1) for state in server.state()))
            admission.gone.add("goes")
            server.publish(world(a="1"), 2)
            await running["goes"]
        assert [state.node.id for state in server.state()] == ["stays"]
        assert [event.reason for event in events if isinstance(event, StreamClosed)] == ["gone"]
        running["stays"].cancel()


async def test_stopping_ends_every_stream_well() -> None:
    events: list[Event] = []
    async with serving(events, mesh=world(a="1")) as (server, address):
        sidecar = SimulatedSidecar(address, node_id="me", token="me")
        running = asyncio.create_task(sidecar.run())
        async with asyncio.timeout(10):
            await sidecar.until_count(ENDPOINT, 1)
            # A client that is just writing when its stream ends is told of the write, not of the end.
            await until(lambda: all(state.acknowledged(1) for state in server.state()))
            await server.stop()
            try:
                await running
            except grpc.aio.AioRpcError as error:
                # The connection may be gone before the client has read the stream's end.
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
    assert [event.reason for event in events if isinstance(event, StreamClosed)] == ["shutdown"]


async def test_streams_are_shed_a_few_at_a_time_and_served_until_then() -> None:
    events: list[Event] = []
    async with serving(events, mesh=world(a="1")) as (server, address):
        sidecars = [SimulatedSidecar(address, node_id=f"s{number}", token=f"s{number}") for number in range(4)]
        running = [asyncio.create_task(sidecar.run()) for sidecar in sidecars]
        async with asyncio.timeout(20):
            for sidecar in sidecars:
                await sidecar.until_count(ENDPOINT, 1)
            await until(lambda: all(state.acknowledged(1) for state in server.state()))
            stopping = asyncio.create_task(server.stop(shed=timedelta(seconds=8)))
            while len(server.state()) == 4:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            assert len(server.state()) == 3, "the first of four goes at once, the second after a quarter of the time"
            assert await refusal(address, METHOD, first_request(METHOD, "late")) is grpc.StatusCode.UNAVAILABLE
            server.publish(world(a="2"), 2)
            while not all(state.acknowledged(2) for state in server.state()):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            assert server.state()
            assert not stopping.done()
            for task in running:
                task.cancel()
            await stopping
    assert len([event for event in events if isinstance(event, StreamClosed)]) >= 4


async def test_a_stream_ends_when_its_mode_changes_and_the_next_has_the_new_one() -> None:
    events: list[Event] = []
    wanted = {"on demand": False}

    def on_demand(asker: Asker, before: bool | None) -> bool:
        decided.append(before)
        return wanted["on demand"]

    decided: list[bool | None] = []
    async with serving(events, mesh=world(a="1"), on_demand=on_demand) as (server, address):
        running = asyncio.create_task(SimulatedSidecar(address, node_id="me", token="me").run())
        async with asyncio.timeout(10):
            while not server.state():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            assert not server.state()[0].asker.on_demand
            server.publish(world(a="2"), 2)
            assert server.state()
            wanted["on demand"] = True
            server.publish(world(a="3"), 3)
            await running
            again = asyncio.create_task(SimulatedSidecar(address, node_id="me", token="me").run())
            while not server.state():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert server.state()[0].asker.on_demand
        assert decided == [None, False, False, None]
        again.cancel()
    assert next(event.reason for event in events if isinstance(event, StreamClosed)) == "mode"


async def test_whoever_learns_on_demand_is_told_so_of_again_when_it_comes_back() -> None:
    decided: dict[str, list[bool | None]] = {"me": [], "other": []}

    def on_demand(asker: Asker, before: bool | None) -> bool:
        decided[asker.pod].append(before)
        return len(decided[asker.pod]) < 3

    async with serving(mesh=world(a="1"), on_demand=on_demand) as (server, address):
        for name in ("me", "other", "me", "me", "me"):
            running = asyncio.create_task(SimulatedSidecar(address, node_id=name, token=name).run())
            await until(server.state)
            running.cancel()
            await until(lambda: not server.state())
    assert decided == {"me": [None, True, True, None], "other": [None]}


async def test_streams_whose_mode_changes_end_one_after_the_other_and_are_served_until_then() -> None:
    events: list[Event] = []
    wanted = {"on demand": False}
    waits = iter([0.0, 1e6, 0.0])

    def on_demand(asker: Asker, before: bool | None) -> bool:
        return wanted["on demand"]

    async with serving(events, mesh=world(a="1"), on_demand=on_demand, jitter=lambda: next(waits)) as (server, address):
        sidecars = {name: SimulatedSidecar(address, node_id=name, token=name) for name in ("one", "other")}
        running = {name: asyncio.create_task(sidecar.run()) for name, sidecar in sidecars.items()}
        async with asyncio.timeout(20):
            while server.acknowledged(1) < 2:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            early, late = [state.node.id for state in server.state()]
            wanted["on demand"] = True
            server.publish(world(a="2"), 2)
            await running[early]
            server.publish(world(a="3"), 3)
            while server.acknowledged(3) < 1:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            (left,) = server.state()
            assert (left.node.id, left.asker.on_demand) == (late, False)
            assert left.asker.labels == {"app": "second"}, "who its pod is by now does not wait"
            wanted["on demand"] = False
            server.publish(world(a="4"), 4)
            wanted["on demand"] = True
            server.publish(world(a="5"), 5)
            await running[late]
    assert [event.reason for event in events if isinstance(event, StreamClosed)] == ["mode", "mode"]


async def test_state_of_the_world_is_never_on_demand() -> None:
    async with serving(mesh=world(a="1"), on_demand=lambda asker, before: True) as (server, address):
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.stream_stream(SOTW_METHOD)(metadata=(("authorization", "Bearer me"),))
            await call.write(first_request(SOTW_METHOD, "me"))
            assert await call.read() is not grpc.aio.EOF
            assert not server.state()[0].asker.on_demand


async def test_whoever_invents_hosts_without_end_comes_back_to_all_of_them_ahead() -> None:
    events: list[Event] = []
    limits = DemandLimits(nobodys=2)
    async with serving(events, mesh=world(a="1"), on_demand=lambda asker, before: True, limits=limits) as (_, address):
        hosts = pb.DeltaDiscoveryRequest(type_url=VIRTUAL_HOST, resource_names_subscribe=["80/1", "80/2", "80/3"])
        messages = (first_request(METHOD, "me"), hosts.SerializeToString())
        assert await refusal(address, METHOD, *messages) is grpc.StatusCode.OK
        assert [event.reason for event in events if isinstance(event, StreamClosed)] == ["mode"]
        assert [event.node for event in events if isinstance(event, AskedTooMuch)] == ["me"]
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.stream_stream(METHOD)(metadata=(("authorization", "Bearer me"),))
            for message in messages:
                await call.write(message)
            heard = pb.DeltaDiscoveryResponse.FromString(await call.read())
            while heard.type_url != VIRTUAL_HOST:
                heard = pb.DeltaDiscoveryResponse.FromString(await call.read())
            assert {one.name for one in heard.resources} == {"80/1", "80/2", "80/3"}
