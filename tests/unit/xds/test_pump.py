"""A stream between a wire and the core, without gRPC: who gets to speak when, and how it ends."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from protos import discovery_pb2 as pb
from tests.protocol.conversation import CDS, EDS, LDS, VHDS, Heard, Talk, hear, to_mesh
from tests.protocol.on_demand import OnDemandTalk
from xds import pump as pump_module
from xds.look_ahead import LOOKS_AT_ONCE
from xds.protocol import Stream
from xds.pump import Pump
from xds.readers import Readers
from xds.stream_secrets import NoSecrets
from xds.violation import Fault, Violation
from xds.wire import Node, NotARequest, parse_delta_request, parse_sotw_request

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


class FakeWire:
    """`incoming` is read at once, without ever waiting, until it is empty. Writes return while it `flows`."""

    def __init__(self, *, delta: bool = True) -> None:
        self.delta = delta
        self.names: dict[str, tuple[str, ...]] = {}
        self.incoming: deque[bytes | None] = deque()
        self.more = asyncio.Event()
        self.sent: list[Heard] = []
        self.flows = asyncio.Event()
        self.flows.set()
        self.log: list[str] = []
        self.accepts = True
        self.refuses = b"nothing has this in it"
        self.was_sent = asyncio.Event()

    def say(self, message: pb.DeltaDiscoveryRequest | pb.DiscoveryRequest) -> None:
        self.incoming.append(message.SerializeToString())
        self.more.set()

    def ask(self, type_url: str, *names: str) -> None:
        """For more names, or for everything."""
        if self.delta:
            self.say(pb.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names))
        else:
            self.names[type_url] = (*self.names.get(type_url, ()), *names)
            self.say(pb.DiscoveryRequest(type_url=type_url, resource_names=self.names[type_url]))

    def answer(self, response: Heard, *, error: str = "") -> None:
        answer: pb.DeltaDiscoveryRequest | pb.DiscoveryRequest
        if self.delta:
            answer = pb.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        else:
            answer = pb.DiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            answer.version_info = response.version
            answer.resource_names.extend(self.names.get(response.type_url, ()))
        if error:
            answer.error_detail.message = error
        self.say(answer)

    async def read(self) -> bytes | None:
        while not self.incoming:
            self.more.clear()
            await self.more.wait()
        self.log.append("read")
        return self.incoming.popleft()

    async def write(self, message: bytes) -> None:
        await self.flows.wait()
        response = hear(message, delta=self.delta)
        self.log.append("write")
        self.sent.append(response)
        self.was_sent.set()
        if self.accepts:
            self.answer(response, error="no" if self.refuses in message else "")

    async def until_sent(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.sent) < count:
                self.was_sent.clear()
                await self.was_sent.wait()


def pumping(talk: Talk, wire: FakeWire) -> Pump:
    parse = parse_delta_request if talk.delta else parse_sotw_request
    return Pump(wire=wire, stream=talk.stream, parse=parse, now=lambda: datetime.now(UTC))


S = TypeVar("S", bound=Stream)


def stream_of(kind: type[S], talk: Talk, now: datetime) -> S:
    """Another sort of stream to what the talk's own is to."""
    return kind(
        stream_id="1",
        delta=True,
        node=Node(id="n"),
        asker=talk.stream.asker,
        memo=talk.memo,
        secrets=NoSecrets(),
        report=print,
        readers=Readers(generation=1),
        now=now,
    )


class Clockwork(Stream):
    """Nothing to send; `ticks` counts how often it was told the time, `turns` how often its pump came to rest."""

    __slots__ = ("at", "ticks", "turns", "wound")

    @property
    def restless(self) -> bool:
        return self.wound

    def tick(self, now: datetime) -> None:
        self.ticks += 1
        self.wound = False
        if now >= self.at:
            self.at = now + timedelta(hours=1)

    def wake_at(self) -> datetime | None:
        self.turns += 1
        return self.at


async def test_the_stream_is_told_the_time_when_it_is_due_and_when_it_is_restless() -> None:
    talk, now = Talk(True, {CDS: {"a": "1"}}), datetime.now(UTC)
    stream = stream_of(Clockwork, talk, now)
    stream.at, stream.ticks, stream.turns, stream.wound = now + timedelta(minutes=1), 0, 0, False
    clock = [now]
    pump = Pump(wire=FakeWire(), stream=stream, parse=parse_delta_request, now=lambda: clock[0])

    async def woken(turn: int) -> None:
        pump.wake()
        async with asyncio.timeout(10):
            while stream.turns < turn:  # noqa: ASYNC110 - every turn of the loop counts
                await asyncio.sleep(0)

    running = asyncio.create_task(pump.run())
    await woken(1)
    await woken(2)
    early = stream.ticks
    stream.wound = True
    await woken(3)
    wound = stream.ticks
    clock[0] = stream.at
    await woken(4)
    told = stream.ticks
    # What is found to be long due is told at once, not after a pause.
    stream.at = clock[0] - timedelta(minutes=1)
    await woken(5)
    for _ in range(20):
        await asyncio.sleep(0)
    assert (early, wound, told, stream.ticks) == (1, 2, 3, 4)
    pump.end("over")
    await running


@both
async def test_r50_a_client_that_does_not_read_is_cut_off(delta: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "SEND_WITHIN", timedelta(seconds=0.05))
    talk, wire = Talk(delta, {CDS: {"a": "1"}}), FakeWire(delta=delta)
    wire.flows.clear()
    wire.ask(CDS)
    with pytest.raises(TimeoutError, match="does not read"):
        async with asyncio.timeout(5):
            await pumping(talk, wire).run()
    assert len(asyncio.all_tasks()) == 1


@both
async def test_r48_r50_what_a_slow_client_has_not_read_is_one_message_a_type(delta: bool) -> None:
    """Snapshots leave nothing behind that grows: what is next is looked up when it can be sent."""
    talk, wire = Talk(delta, {CDS: {"a": "0"}}), FakeWire(delta=delta)
    wire.accepts = False
    pump = pumping(talk, wire)
    running = asyncio.create_task(pump.run())
    wire.ask(CDS)
    await wire.until_sent(1)
    for content in range(1, 200):
        talk.becomes({CDS: {"a": str(content)}})
        pump.wake()
        await asyncio.sleep(0)
    assert len(wire.sent) == 1
    wire.accepts = True
    wire.answer(wire.sent[0])
    await wire.until_sent(2)
    pump.end("over")
    assert await running == "over"
    assert len(wire.sent) == 2


@both
async def test_the_first_change_goes_out_at_once_and_a_burst_is_merged_while_it_is_written(delta: bool) -> None:
    """At once: the loop turns a few times and no timer runs. The client's answer is read in those turns too."""
    talk, wire = Talk(delta, {CDS: {"a": "0"}}), FakeWire(delta=delta)
    pump = pumping(talk, wire)
    running = asyncio.create_task(pump.run())
    wire.ask(CDS)

    async def a_few_turns() -> list[str]:
        for _ in range(20):
            await asyncio.sleep(0)
        return [one.resources["a"] for one in wire.sent]

    def becomes(content: str) -> None:
        talk.becomes({CDS: {"a": content}})
        pump.wake()

    assert await a_few_turns() == ["0"]
    for turn in range(1, 5):
        becomes(f"{turn}")
        assert await a_few_turns() == [f"{number}" for number in range(turn + 1)]
        assert talk.stream.acknowledged(talk.generation)
    wire.flows.clear()
    for number in range(5, 105):
        becomes(f"{number}")
        await a_few_turns()
    wire.flows.set()
    assert (await a_few_turns())[5:] == ["5", "104"]
    pump.end("over")
    await running


@both
async def test_r54_requests_come_before_pushes_and_pushes_are_not_starved(delta: bool) -> None:
    names = [f"n{number}" for number in range(1500)]
    talk, wire = Talk(delta, {CDS: {"a": "1"}, EDS: dict.fromkeys(names, "1")}), FakeWire(delta=delta)
    for name in names:
        wire.ask(EDS, name)
    wire.ask(CDS)
    pump = pumping(talk, wire)
    running = asyncio.create_task(pump.run())
    await wire.until_sent(1)
    # Two are read while the writer comes to its turn, and two more while it lets other streams have theirs.
    assert wire.log.index("write") <= 4, "a client that talks without end gets no answer"
    async with asyncio.timeout(10):
        while {one.type_url for one in wire.sent} != {CDS, EDS}:  # noqa: ASYNC110 - every turn of the loop counts
            await asyncio.sleep(0)
    answered: list[str] = []
    looked_at = 0
    async with asyncio.timeout(10):
        while len(answered) < len(names):
            await asyncio.sleep(0)
            new, looked_at = wire.sent[looked_at:], len(wire.sent)
            answered += [name for one in new if one.type_url == EDS for name in one.resources]
    assert sorted(answered) == sorted(names)
    # In between, what was read is answered together and not one by one.
    assert len(wire.sent) < len(names) / 10
    pump.end("over")
    await running


class Unending(Stream):
    """Always has a response to send, whatever its client says."""

    __slots__ = ()

    def receive(self, request: object, now: datetime) -> None:
        pass

    def next(self, now: datetime) -> bytes | None:
        return pb.DeltaDiscoveryResponse(type_url=CDS).SerializeToString()

    def is_quiet(self) -> bool:
        return False


async def test_r54_two_requests_are_heard_for_each_push_where_there_is_no_end_of_either() -> None:
    talk, wire = Talk(True, {CDS: {"a": "1"}}), FakeWire()
    wire.accepts = False
    talk.stream = stream_of(Unending, talk, talk.now)
    for _ in range(1000):
        wire.ask(CDS)
    pump = pumping(talk, wire)
    running = asyncio.create_task(pump.run())
    await wire.until_sent(100)
    pump.end("over")
    await running
    writes = [place for place, what in enumerate(wire.log) if what == "write"]
    reads_between = [later - earlier - 1 for earlier, later in itertools.pairwise(writes)]
    assert reads_between[:99] == [2] * 99
    assert writes[0] <= 4


@both
async def test_r54_a_request_is_heard_while_pushes_go_on_without_end(delta: bool) -> None:
    talk, wire = Talk(delta, {CDS: {"a": "0"}, EDS: {"x": "1"}}), FakeWire(delta=delta)
    wire.ask(CDS)
    pump = pumping(talk, wire)
    running = asyncio.create_task(pump.run())
    await wire.until_sent(1)
    for content in range(1, 50):
        talk.becomes({CDS: {"a": str(content)}})
        pump.wake()
        if content == 25:
            wire.ask(EDS, "x")
            asked = len(wire.sent)
        await wire.until_sent(len(wire.sent) + 1)
    urls = [one.type_url for one in wire.sent[asked:]]
    assert urls.index(EDS) <= 2
    pump.end("over")
    await running


@pytest.mark.parametrize(
    ("raw", "told"),
    [(b"\xff", NotARequest), (pb.DeltaDiscoveryRequest().SerializeToString(), Violation)],
    ids=["garbage", "no type"],
)
async def test_r57_nonsense_ends_the_stream_by_the_clients_fault(raw: bytes, told: type[Exception]) -> None:
    talk, wire = Talk(True, {CDS: {"a": "1"}}), FakeWire()
    wire.ask(CDS)
    wire.incoming.append(raw)
    with pytest.raises(told) as error:
        async with asyncio.timeout(5):
            await pumping(talk, wire).run()
    assert getattr(error.value, "fault", Fault.INVALID_ARGUMENT) is Fault.INVALID_ARGUMENT


async def test_r57_a_client_that_hangs_up_is_no_error() -> None:
    talk, wire = Talk(True, {CDS: {"a": "1"}}), FakeWire()
    wire.incoming.append(None)
    assert await pumping(talk, wire).run() == "client"


@both
async def test_r50_r55_who_asks_for_much_lets_others_have_their_turn_while_it_is_looked_up(delta: bool) -> None:
    names = [f"name{number}" for number in range(20 * LOOKS_AT_ONCE)]
    talk, wire = Talk(delta=delta, world={EDS: dict.fromkeys(names, "1")}), FakeWire(delta=delta)
    wire.ask(EDS, *names)
    turns, pump = 0, pumping(talk, wire)
    running = asyncio.create_task(pump.run())
    async with asyncio.timeout(10):
        while not wire.sent:
            await asyncio.sleep(0)
            turns += 1
    pump.end("over")
    await running
    assert len(wire.sent[0].resources) == len(names)
    assert turns >= 20


async def test_r40_the_time_for_which_much_was_looked_up_does_not_count_as_waited() -> None:
    clusters = {f"c{number}": "1" for number in range(10 * LOOKS_AT_ONCE)}
    talk = Talk(delta=True, world={CDS: clusters, LDS: {"l": "1"}}, derive_seconds=0.01)
    wire = FakeWire()
    wire.accepts = False
    wire.ask(CDS)
    wire.ask(LDS)
    pump = Pump(wire=wire, stream=talk.stream, parse=parse_delta_request, now=lambda: talk.now)
    running = asyncio.create_task(pump.run())
    await wire.until_sent(1)
    for _ in range(50):
        await asyncio.sleep(0)
    pump.end("over")
    await running
    assert [message.type_url for message in wire.sent] == [CDS]


async def test_what_was_worked_out_is_not_sent_once_the_stream_is_to_end() -> None:
    """Its pod is gone, say."""
    talk, wire = Talk(True, {CDS: {"a": "1"}}), FakeWire()
    pump = pumping(talk, wire)
    wire.ask(CDS)
    running = asyncio.create_task(pump.run())
    await wire.until_sent(1)
    for _ in range(5):
        await asyncio.sleep(0)
    talk.becomes({CDS: {"a": "2"}})
    pump.wake()
    while not talk.stream.is_quiet():  # noqa: ASYNC110 - every turn of the loop counts
        await asyncio.sleep(0)
    pump.end("gone")
    assert await running == "gone"
    assert len(wire.sent) == 1


async def test_a_cluster_that_nothing_names_any_more_once_much_was_looked_up_gets_its_time() -> None:
    """Nothing is sent and nobody answers: the sidecar has refused what is taken back."""
    hosts = {f"80/h{number}": "1" for number in range(3)}
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    talk = OnDemandTalk(world={CDS: {"b": "1"}, VHDS: hosts}, looks_at_once=1)
    wire = FakeWire()
    wire.refuses = b"uses b"
    pump = Pump(wire=wire, stream=talk.stream, parse=parse_delta_request, now=lambda: clock[0])
    wire.ask(CDS)
    wire.ask(VHDS, *hosts)
    running = asyncio.create_task(pump.run())

    async def becomes(hosts: dict[str, str]) -> None:
        talk.world = {**talk.world, VHDS: hosts}
        if talk.is_told(talk.memo.advance(to_mesh(talk.world)), talk.generation + 1):
            pump.wake()
        for _ in range(100):
            await asyncio.sleep(0)

    await becomes(hosts)
    await becomes(dict.fromkeys(hosts, "uses b"))
    assert any("b" in one.resources for one in wire.sent if one.type_url == CDS)
    await becomes(hosts)
    assert not talk.stream.restless
    due = talk.stream.wake_at()
    assert due is not None
    assert due - clock[0] <= timedelta(minutes=1)
    pump.end("over")
    await running
