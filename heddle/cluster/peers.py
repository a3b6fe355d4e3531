"""What the other replicas tell the one that leads: how far their sidecars are. Asked about once a second each.

Needs no rights: the pods are in what is watched, and each replica's token is mounted into its pod.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import aiohttp
import structlog

from heddle.cluster.admin_protocol import PROGRESS_PATH, TOKEN_HEADER
from heddle.cluster.replica_progress import (
    Acknowledgements,
    BadProgress,
    RejectedAt,
    ReplicaProgress,
    parse_progress,
)
from heddle.cluster.replicas import Replica, replicas
from model.mesh import Mesh
from model.problems import ObjectRef
from sources.kubernetes.object_status import InForce

EVERY_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 2.0
FRESH_SECONDS: Final = 10.0
"""How long an answer counts: one that is late is no reason to take back what was said of a thousand objects."""

MAX_ANSWER: Final = 8 << 20
_AT_ONCE: Final = 8
_LEFTOVER_OBJECTS: Final = 10_000
"""How many objects more than there are a replica's may be kept: those that were deleted are not told."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerState:
    """What one replica told last. `objects` are all that it has; `untold`: how many rejections are not among these."""

    replica: str
    acknowledged: Acknowledgements = field(default_factory=Acknowledgements)
    rejections: tuple[RejectedAt, ...] = ()
    untold: int = 0
    objects: Mapping[ObjectRef, InForce] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """All other replicas: what those told that answer, and the names of the rest."""

    states: tuple[PeerState, ...] = ()
    unasked: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Peer:
    replica: Replica
    process: str = ""
    change: int = 0
    objects: dict[ObjectRef, InForce] = field(default_factory=dict)
    last: ReplicaProgress | None = None
    answered_at: float = 0.0
    trouble: str = ""


class _NoAnswer(Exception):
    """`str()` says why."""


class Peers:
    """`own_pod` is the one that is not asked. `token` is a file that is read anew each time, None for no token at all.

    `roots` answers the mesh's, of which replicas have their certificates, for `server_name`. `objects` answers how many
    objects there are. `jitter` answers numbers from -1 to 1.
    """

    def __init__(
        self,
        *,
        mesh: Callable[[], Mesh],
        namespace: str,
        own_pod: str,
        token: Path | None,
        roots: Callable[[], bytes],
        server_name: str,
        objects: Callable[[], int],
        jitter: Callable[[], float],
        every_seconds: float = EVERY_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> None:
        self._mesh = mesh
        self._namespace = namespace
        self.own_pod = own_pod
        self._token = token
        self._roots = roots
        self._server_name = server_name
        self._objects = objects
        self._jitter = jitter
        self._every = every_seconds
        self._answer_seconds = answer_seconds
        self._fresh = fresh_seconds
        self._peers: dict[str, _Peer] = {}
        self._asked = asyncio.Event()
        self._trusted: tuple[bytes, ssl.SSLContext] | None = None
        self.revision = 0
        """Grows when something is told that was not told before."""

    def forget(self) -> None:
        """Before another `run`: what was told earlier counts no more."""
        self._peers.clear()
        self._asked.clear()

    async def asked(self) -> None:
        """Returns once all have been asked."""
        await self._asked.wait()

    def others(self) -> Others:
        """At present."""
        now = asyncio.get_running_loop().time()
        states, unasked = [], []
        for replica in self._replicas():
            peer = self._peers.get(replica.uid)
            if peer is None or peer.last is None or now - peer.answered_at > self._fresh:
                unasked.append(replica.pod)
                continue
            states.append(
                PeerState(
                    replica=replica.pod,
                    acknowledged=peer.last.acknowledged,
                    rejections=peer.last.rejections,
                    untold=peer.last.untold,
                    objects=peer.objects,
                )
            )
        return Others(states=tuple(states), unasked=tuple(unasked))

    async def run(self) -> None:
        """Until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self._answer_seconds)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            while True:
                await self._ask_all(session)
                self._asked.set()
                await asyncio.sleep(self._every * (1 + self._jitter() / 5))

    def _replicas(self) -> tuple[Replica, ...]:
        """Those that may have sidecars: without an address none can have come."""
        found = replicas(self._mesh().pods.values(), self._namespace)
        return tuple(each for each in found if each.address and each.pod != self.own_pod)

    async def _ask_all(self, session: aiohttp.ClientSession) -> None:
        there = {replica.uid: replica for replica in self._replicas()}
        for uid in self._peers.keys() - there.keys():
            del self._peers[uid]
        for uid, replica in there.items():
            self._peers.setdefault(uid, _Peer(replica=replica)).replica = replica
        free = asyncio.Semaphore(_AT_ONCE)

        async def ask(peer: _Peer) -> None:
            async with free:
                await self._ask(session, peer)

        async with asyncio.TaskGroup() as tasks:
            for peer in self._peers.values():
                tasks.create_task(ask(peer))

    async def _ask(self, session: aiohttp.ClientSession, peer: _Peer) -> None:
        try:
            told = parse_progress(await self._read(session, peer))
        except (_NoAnswer, BadProgress) as error:
            if str(error) != peer.trouble:
                peer.trouble = str(error)
                _log.warning("peers.trouble", replica=peer.replica.pod, reason=peer.trouble)
            return
        peer.trouble = ""
        peer.answered_at = asyncio.get_running_loop().time()
        self._take(peer, told)

    def _take(self, peer: _Peer, told: ReplicaProgress) -> None:
        if told.process != peer.process or len(peer.objects) > self._objects() + _LEFTOVER_OBJECTS:
            fresh = told.process == peer.process
            peer.process, peer.change, peer.objects = told.process, 0, {}
            if fresh:
                # What it told now is not the beginning.
                told = replace(told, objects=())
        for each in told.objects:
            peer.objects[each.ref] = each
            peer.change = max(peer.change, each.change)
        if told != peer.last:
            peer.last = replace(told, objects=())
            self.revision += 1

    async def _read(self, session: aiohttp.ClientSession, peer: _Peer) -> object:
        """Raises _NoAnswer."""
        replica = peer.replica
        host = f"[{replica.address}]" if ":" in replica.address else replica.address
        try:
            async with session.get(
                f"https://{host}:{replica.port}{PROGRESS_PATH}",
                params={"process": peer.process, "after": str(peer.change)},
                headers={TOKEN_HEADER: self._read_token()},
                ssl=self._tls(),
                server_hostname=self._server_name,
                allow_redirects=False,
            ) as answer:
                body = bytearray()
                async for piece in answer.content.iter_any():
                    body += piece
                    if len(body) > MAX_ANSWER:
                        raise _NoAnswer(f"its answer has more than {MAX_ANSWER} bytes")
                if answer.status != 200:
                    raise _NoAnswer(f"it answers {answer.status}: {bytes(body[:200]).decode(errors='replace')}")
                return json.loads(body)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
            raise _NoAnswer(str(error) or type(error).__name__) from error

    def _read_token(self) -> str:
        if self._token is None:
            raise _NoAnswer("there is no token to ask with: --admin-token")
        return self._token.read_text().strip()

    def _tls(self) -> ssl.SSLContext:
        roots = self._roots()
        if self._trusted is None or self._trusted[0] != roots:
            self._trusted = roots, ssl.create_default_context(cadata=roots.decode())
        return self._trusted[1]
