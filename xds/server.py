"""The ADS server: the one file that touches grpc.

Requests and responses pass as raw bytes. Every RPC is admitted in the same way; what happens on a stream after that
is `xds.protocol`'s, without I/O.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, NoReturn

import grpc

from model.asker import Asker, Capture
from model.mesh import Mesh
from model.pods import ProxyKind
from xds.accepted_sets import AcceptedSets
from xds.admission import Admission, C, Exhausted, PermissionDenied, Unauthenticated, Unavailable
from xds.demand import DEFAULT_LIMITS, DemandLimits
from xds.events import AskedTooMuch, Event, StreamClosed, StreamFailed, StreamOpened
from xds.first_builds import FirstBuilds
from xds.history import History
from xds.memo import Memo
from xds.protocol import Stream
from xds.pump import Pump
from xds.readers import Readers
from xds.refused_clusters import RefusedClusters
from xds.state import StreamProgress, StreamState
from xds.violation import Fault, Violation, first_node
from xds.wire import DeltaRequest, Node, NotARequest, SotwRequest, parse_delta_request, parse_sotw_request

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
FIRST_REQUEST_WITHIN = timedelta(seconds=10)
MAX_STREAMS = 20_000
MODE_CHANGES_A_SECOND = 100
"""When the mesh grows or shrinks past a bound, every sidecar is to learn in another way, and comes again for it."""

OPTIONS = (
    # grpc core cancels streams of a reconnect burst before any handler runs unless both are raised.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    # A reconnect may list 50,000 names with versions.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    # Of a stream whose caller is not known yet nothing is read, so that it sends no more than the window: 64 KiB.
    ("grpc.http2.lookahead_bytes", 64 * 1024),
    ("grpc.http2.bdp_probe", 0),
    # Else each connection keeps a buffer for as much as it once read at a time, 64 KiB after the names of a thousand
    # clusters. A buffer has 8 KiB at least.
    ("grpc.experimental.tcp_max_read_buffer_size", 8 * 1024),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    # Of one connection. A sidecar has one, and a second while it reconnects.
    ("grpc.max_concurrent_streams", 100),
    # Clients may ping twice as often as we do; without this they are sent away for too many pings.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The one above ends nothing by itself, this one does (measured with grpcio 1.85).
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 15_000),
    # Two servers on one port would share its connections in silence.
    ("grpc.so_reuseport", 0),
)

_STATUS = {
    Fault.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Fault.RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class AdsServer(Generic[C]):
    """Serves what `memo` derives to every stream that `admission` lets in.

    Nobody is let in before the first `publish`. `max_age` ends streams at that age, so that a client shows a fresh
    credential and replicas share the load; `jitter` gives a number from 0 to 1, which makes it up to a tenth shorter.
    `most_of_one`: how many streams a caller may have at a time, so that none of them shuts the others out.
    `on_demand` says of an incremental stream whether its client learns on demand, within `limits`; it is told what the
    stream does already, or what the last one of its caller did (None: nothing is known). A stream for which that
    changes ends, and its client comes again; where there are many, one after the other, each served as before until
    its turn.
    """

    def __init__(
        self,
        *,
        memo: Memo,
        admission: Admission[C],
        report: Callable[[Event], None],
        max_age: timedelta | None = None,
        most_of_one: int | None = None,
        jitter: Callable[[], float] = lambda: 0.0,
        on_demand: Callable[[Asker, bool | None], bool] = lambda asker, before: asker.on_demand,
        limits: DemandLimits = DEFAULT_LIMITS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        first_builds: FirstBuilds | None = None,
    ) -> None:
        self._memo = memo
        self._admission = admission
        self._report = report
        self._max_age = max_age
        self._most_of_one = most_of_one
        self._present: Counter[C] = Counter()
        """How many streams of each caller are let in, or are about to be."""
        self._jitter = jitter
        self._on_demand = on_demand
        self._limits = limits
        self._history = History()
        self._excessive: dict[C, None] = {}
        """Who asked for too much to be served on demand, the longest ago first."""
        self._learning: dict[C, None] = {}
        """Whose last stream learnt on demand, likewise: between the bounds of `on_demand` it stays as it was."""
        self._now = now
        self._accepted_sets = AcceptedSets()
        self._refused_clusters = RefusedClusters()
        self._first_builds = first_builds or FirstBuilds()
        self._readers = Readers(generation=-1)
        self._published = False
        self._numbers = itertools.count(1)
        self._open: dict[str, tuple[Pump, C, Node]] = {}
        self._handlers: set[asyncio.Task[None]] = set()
        """Of every stream, from its first byte to its last event."""
        self._shown: tuple[object, object] = (None, None)
        """What decides which certificates gateways show, as it was last published."""
        self._pods: object = None
        self._settings: object = None
        self._askers: dict[str, Asker] = {}
        """As the admission had them when they were last looked at, by stream."""
        self._turns: dict[str, asyncio.TimerHandle] = {}
        """When streams end whose mode changes, by stream."""
        self._stopping = False
        self.refused: Counter[str] = Counter()
        """How many streams were refused or ended with an error, by the name of their status (`UNAUTHENTICATED`)."""
        # So that the client's next stream goes to whichever replica its next connection finds.
        aged = () if max_age is None else (("grpc.max_connection_age_ms", int(max_age.total_seconds() * 800)),)
        self._server = grpc.aio.server(options=(*OPTIONS, *aged))
        handlers = {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._sotw),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
        }
        self.methods = tuple(f"/{SERVICE}/{name}" for name in handlers)
        """The RPCs that there are: each admits its callers in the same way."""
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    def listen(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Binds `host:port` and returns the port. Raises OSError if that fails, ValueError for plaintext anywhere but
        on loopback. Before `start`; may be called several times."""
        if credentials is None and not address.startswith(("127.", "[::1]", "unix:")):
            raise ValueError(f"{address} is not loopback, and there is no plaintext discovery elsewhere")
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error
        if port == 0 and not address.startswith("unix:"):
            raise OSError(f"cannot listen on {address}")
        return int(port)

    async def start(self) -> None:
        """Accepts connections from now on."""
        await self._server.start()

    async def stop(self, grace: timedelta = timedelta(seconds=2), *, shed: timedelta = timedelta(0)) -> None:
        """Ends every stream and closes. Clients keep what they have and reconnect.

        From now on no stream is let in, and connections are told to go elsewhere (GOAWAY). Streams are ended one after
        the other over `shed`, in an order of chance, so that the replicas that stay get them a few at a time; until
        its turn comes each is served as before. The answers on their way have `grace` at the end.
        """
        self._stopping = True
        loop = asyncio.get_running_loop()
        pumps = [pump for pump, _, _ in self._open.values()]
        pumps.sort(key=lambda _: self._jitter())
        turns = [
            loop.call_later(shed.total_seconds() * place / len(pumps), pump.end, "shutdown")
            for place, pump in enumerate(pumps)
        ]
        try:
            await self._server.stop((shed + grace).total_seconds())
            # grpc forgets a call that its client has cancelled before the handler has come to its end.
            if self._handlers:
                await asyncio.wait(self._handlers, timeout=grace.total_seconds())
        finally:
            for turn in turns:
                turn.cancel()

    def publish(self, mesh: Mesh, generation: int) -> None:
        """Makes `mesh` what is served, and wakes the streams it changes something for. `generation` grows.

        The stream of a pod that is gone ends: whoever still holds its token is nobody any more.
        """
        marks = self._memo.advance(mesh)
        # How a client gets its configuration follows from scopes too.
        scoped, self._settings = mesh.settings is not self._settings or bool(marks.scopes), mesh.settings
        others, self._pods = scoped or mesh.pods is not self._pods, mesh.pods
        shown, self._shown = self._shown, (mesh.gateways, mesh.credentials)
        certificates_changed = any(old is not new for old, new in zip(shown, self._shown, strict=True))
        ended: set[str] = set()
        if others or certificates_changed:
            for name, (pump, caller, node) in self._open.items():
                if others and (reason := self._look_at(pump.stream, caller, node, scoped=scoped)):
                    pump.end(reason)
                    ended.add(name)
                elif certificates_changed and pump.stream.asker.kind is ProxyKind.GATEWAY:
                    pump.stream.secrets_changed()
        for name in self._readers.concerned(marks):
            pump, _, _ = self._open[name]
            if name not in ended and pump.stream.snapshot(marks):
                pump.wake()
        self._readers.generation = generation
        self._published = True

    def secrets_changed(self) -> None:
        """Has every stream look its secrets up again: a trust bundle was replaced, say."""
        for pump, _, _ in self._open.values():
            pump.stream.secrets_changed()
            pump.wake()

    def acknowledged(self, generation: int) -> int:
        """How many open streams need nothing more of this snapshot, or a newer one."""
        busy = self._readers.busy()
        resting = len(self._open) - len(busy) if generation <= self._readers.generation else 0
        return resting + sum(self._open[name][0].stream.acknowledged(generation) for name in busy)

    def state(self) -> tuple[StreamState, ...]:
        """Every open stream, oldest first."""
        return tuple(pump.stream.state() for pump, _, _ in self._open.values())

    def progress(self) -> tuple[StreamProgress, ...]:
        """How far every open stream is, oldest first."""
        return tuple(pump.stream.progress() for pump, _, _ in self._open.values())

    @property
    def ready(self) -> bool:
        """Whether streams are let in."""
        return self._published and not self._stopping

    def _look_at(self, stream: Stream, caller: C, node: Node, *, scoped: bool) -> str:
        """Has the stream answer as whoever its pod is by now; why it has to end, if it does."""
        asker = self._admission.asker_of(caller, node)
        if asker is None:
            return "gone"
        if asker is self._askers.get(stream.id) and not scoped:
            return ""
        self._askers[stream.id] = asker
        before = stream.asker.on_demand
        asker = self._with_mode(asker, caller, vhds=stream.asker.vhds, before=before)
        self._take_turn(stream, changes=asker.on_demand is not before)
        asker = replace(asker, on_demand=before)
        if asker != stream.asker:
            stream.reassign(asker)
        return ""

    def _take_turn(self, stream: Stream, *, changes: bool) -> None:
        """Whether the stream is to end because its mode `changes`: soon if it is, and no longer if it is not."""
        if changes and stream.id not in self._turns:
            wait = self._jitter() * len(self._open) / MODE_CHANGES_A_SECOND
            pump = self._open[stream.id][0]
            self._turns[stream.id] = asyncio.get_running_loop().call_later(wait, pump.end, "mode")
        elif not changes and (turn := self._turns.pop(stream.id, None)) is not None:
            turn.cancel()

    def _with_mode(self, asker: Asker, caller: C, *, vhds: bool, before: bool | None) -> Asker:
        able = vhds and asker.kind is ProxyKind.SIDECAR and asker.capture is Capture.REDIRECT
        able = able and caller not in self._excessive
        asker = replace(asker, vhds=vhds)
        return replace(asker, on_demand=able and self._on_demand(asker, before))

    async def _sotw(self, _requests: object, context: Any) -> None:
        with self._handled():
            await self._serve(context, parse_sotw_request, delta=False)

    async def _delta(self, _requests: object, context: Any) -> None:
        with self._handled():
            await self._serve(context, parse_delta_request, delta=True)

    @contextmanager
    def _handled(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            yield
        finally:
            self._handlers.discard(task)

    async def _serve(self, context: Any, parse: Callable[[bytes], DeltaRequest | SotwRequest], *, delta: bool) -> None:
        name = f"{context.peer()}#{next(self._numbers)}"
        if not self.ready:
            await self._refuse(context, name, "", grpc.StatusCode.UNAVAILABLE, "not ready")
        if len(self._handlers) > MAX_STREAMS:
            await self._refuse(context, name, "", grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")
        node = ""
        try:
            metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
            caller = await self._admission.authenticate(metadata, context.peer())
            if self._most_of_one is not None and self._present[caller] >= self._most_of_one:
                await self._refuse(context, name, "", grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams of a pod")
            wire = _GrpcWire(context)
            with self._counted(caller):
                async with asyncio.timeout(FIRST_REQUEST_WITHIN.total_seconds()):
                    raw = await wire.read()
                if raw is None:
                    return
                request = parse(raw)
                declared = first_node(request)
                node = declared.id
                self._admission.admit(caller, declared)
                place = await self._first_builds.turn()
                try:
                    if self._stopping:
                        raise Unavailable("not ready")
                    # Only now: while it waited, its pod may have become another, or have gone.
                    asker = self._admission.admit(caller, declared)
                    learnt = True if caller in self._learning else None
                    stream = Stream(
                        stream_id=name,
                        delta=delta,
                        node=declared,
                        asker=self._with_mode(asker, caller, vhds=asker.vhds and delta, before=learnt),
                        memo=self._memo,
                        secrets=self._admission.secrets_for(caller, context.peer()),
                        report=self._report,
                        readers=self._readers,
                        now=self._now(),
                        accepted_sets=self._accepted_sets,
                        refused_clusters=self._refused_clusters,
                        limits=self._limits,
                        history=self._history,
                    )
                    stream.receive(request, self._now())
                    pump = Pump(wire=wire, stream=stream, parse=parse, now=self._now, served=place.leave)
                    reason = await self._run(pump, caller, declared)
                finally:
                    place.leave()
        except Unauthenticated as error:
            await self._refuse(context, name, node, grpc.StatusCode.UNAUTHENTICATED, str(error))
        except Unavailable as error:
            await self._refuse(context, name, node, grpc.StatusCode.UNAVAILABLE, str(error))
        except Exhausted as error:
            await self._refuse(context, name, node, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except PermissionDenied as error:
            await self._refuse(context, name, node, grpc.StatusCode.PERMISSION_DENIED, str(error))
        except Violation as error:
            await self._refuse(context, name, node, _STATUS[error.fault], str(error))
        except NotARequest as error:
            await self._refuse(context, name, node, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except TimeoutError:
            await self._refuse(context, name, node, grpc.StatusCode.DEADLINE_EXCEEDED, "too slow")
        except asyncio.CancelledError:
            self._report(StreamClosed(stream=name, node=node, reason="client"))
            raise
        except Exception as error:
            self._report(StreamFailed(stream=name, node=node, error=error))
            raise
        self._report(StreamClosed(stream=name, node=node, reason=reason))

    @contextmanager
    def _counted(self, caller: C) -> Iterator[None]:
        self._present[caller] += 1
        try:
            yield
        finally:
            self._present[caller] -= 1
            if not self._present[caller]:
                del self._present[caller]

    async def _run(self, pump: Pump, caller: C, node: Node) -> str:
        state = pump.stream.state()
        self._report(StreamOpened(stream=state.id, node=node.id))
        self._open[state.id] = (pump, caller, node)
        self._readers.stirs(state.id)
        retirement = None
        if self._max_age is not None:
            age = self._max_age * (1 - 0.1 * self._jitter())
            retirement = asyncio.get_running_loop().call_later(age.total_seconds(), pump.end, "age")
        try:
            return await pump.run()
        finally:
            del self._open[state.id]
            self._askers.pop(state.id, None)
            if (turn := self._turns.pop(state.id, None)) is not None:
                turn.cancel()
            pump.stream.close(self._now())
            self._learning.pop(caller, None)
            if pump.stream.excessive:
                _remember(self._excessive, caller)
                self._report(AskedTooMuch(stream=state.id, node=node.id))
            elif pump.stream.asker.on_demand:
                _remember(self._learning, caller)
            if retirement is not None:
                retirement.cancel()

    async def _refuse(self, context: Any, name: str, node: str, code: grpc.StatusCode, text: str) -> NoReturn:
        self.refused[code.name] += 1
        self._report(StreamClosed(stream=name, node=node, reason=text))
        await context.abort(code, text)
        raise AssertionError("abort always raises")


def _remember(callers: dict[C, None], caller: C) -> None:
    """The last of them, as many as there are streams at most."""
    callers.pop(caller, None)
    callers[caller] = None
    if len(callers) > MAX_STREAMS:
        del callers[next(iter(callers))]


class _GrpcWire:
    """A grpc.aio servicer context as a `Wire`."""

    __slots__ = ("_read", "_write")

    def __init__(self, context: Any) -> None:
        self._read = context.read
        self._write = context.write

    async def write(self, message: bytes) -> None:
        try:
            await self._write(message)
        except grpc.aio.InternalError:
            # The client went away meanwhile. A moment earlier or later gRPC cancels what serves it.
            raise asyncio.CancelledError from None

    async def read(self) -> bytes | None:
        raw = await self._read()
        return None if raw is grpc.aio.EOF else raw
