"""Leader election by a Lease: runs what only one replica shall do, for as long as this one leads.

Two leaders at once are possible all the same (a process that was stopped for a while and does not know it yet), so
every duty must be safe with two: it writes what anybody would write, or by compare-and-swap.

Rights: get, create, update on `leases` (coordination.k8s.io) in Heddle's own namespace, by name where there is one:
create cannot be limited to a name.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol

import structlog

from heddle.cluster.election import Election, Lease, Times
from sources.kubernetes.api import Api, Refused, Unreachable
from sources.kubernetes.events import Garbled, Json

LEASE = "heddle-leader"
_RELEASE_SECONDS = 2.0
"""For the last write of a process that ends: the next leader otherwise waits for the lease to run out."""
_NOT_FOUND, _CONFLICT = 404, 409
_log = structlog.get_logger()


class Duty(Protocol):
    """What the leader does. Begun anew each time that this replica becomes the leader."""

    async def run(self) -> None:
        """Until cancelled; to return sooner is fine too."""


def lease_name(revision: str) -> str:
    """The Lease of one revision, '' being the default one: each has its own leader."""
    return f"{LEASE}-{revision}" if revision else LEASE


class Leadership:
    """`identity` must be this process's own (the pod's name and something that differs each time it starts).

    `now` is only written for people to read; what counts is the event loop's monotonic clock. `jitter` answers numbers
    from -1 to 1.
    """

    def __init__(
        self,
        *,
        api: Api,
        namespace: str,
        identity: str,
        duties: Sequence[Duty],
        now: Callable[[], datetime],
        jitter: Callable[[], float],
        revision: str = "",
        times: Times | None = None,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._name = lease_name(revision)
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._identity = identity
        self._duties = tuple(duties)
        self._now = now
        self._jitter = jitter
        self._times = times or Times()
        self._election = Election(identity=identity, times=self._times)
        self._leading = False

    @property
    def leading(self) -> bool:
        """Whether the duties run here."""
        return self._leading

    @property
    def holder(self) -> str:
        """The identity of the leader, as far as this replica knows; '' for none."""
        return self._election.holder

    async def run(self) -> None:
        """Until cancelled; then the duties end, and the Lease is free at once. What a duty raises comes out."""
        try:
            while True:
                await self._attempt()
                if self._election.leads(_time()):
                    await self._lead()
                else:
                    await asyncio.sleep(self._pause())
        finally:
            await self._release()

    async def _lead(self) -> None:
        _log.info("leadership.won", lease=self._name, identity=self._identity)
        self._leading = True
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(duty.run(), name=type(duty).__name__) for duty in self._duties]
                await self._renew()
                for task in running:
                    task.cancel()
        finally:
            self._leading = False
            _log.info("leadership.ended", lease=self._name, identity=self._identity)

    async def _renew(self) -> None:
        """Returns when this replica may lead no longer."""
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(self._election.leads_for(_time())):
                    await asyncio.sleep(self._pause())
                    await self._attempt()
                if not self._election.leads(_time()):
                    break
        self._election.step_down()

    async def _attempt(self) -> None:
        """Reads the Lease if need be, and takes or renews it if it may be."""
        election = self._election
        try:
            async with asyncio.timeout(self._times.renew_within):
                if not election.known:
                    election.observe(await self._read(), _time())
                begun = _time()
                bid = election.bid(begun, self._instant())
                if bid is None:
                    self._yield()
                    return
                election.won(await self._write(bid), begun=begun, at=_time())
        except Refused as error:
            election.forget()
            if error.refusal.code not in (_CONFLICT, _NOT_FOUND):
                _log.warning("leadership.trouble", lease=self._name, reason=str(error))
        except (Unreachable, Garbled, TimeoutError) as error:
            # Whether it was written is not known: the Lease says so when it is read again.
            election.forget()
            _log.warning("leadership.trouble", lease=self._name, reason=str(error) or "no answer")

    def _yield(self) -> None:
        """Another one holds the Lease."""
        if self._leading:
            self._election.step_down()
        self._election.forget()

    async def _release(self) -> None:
        released = self._election.release(self._instant())
        self._election.step_down()
        if released is None:
            return
        with suppress(TimeoutError, Refused, Unreachable, Garbled):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._write(released)
                _log.info("leadership.released", lease=self._name, identity=self._identity)

    async def _read(self) -> Lease:
        try:
            return _parse_lease(_decode(await self._api.get(f"{self._collection}/{self._name}", {})))
        except Refused as error:
            if error.refusal.code == _NOT_FOUND:
                return Lease()
            raise

    async def _write(self, lease: Lease) -> Lease:
        metadata = {"name": self._name, "namespace": self._namespace}
        body: Json = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
        body["spec"] = _build_spec(lease)
        if not lease.version:
            return _parse_lease(await self._api.write("POST", self._collection, body))
        body["metadata"] = {**metadata, "resourceVersion": lease.version}
        return _parse_lease(await self._api.write("PUT", f"{self._collection}/{self._name}", body))

    def _instant(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _pause(self) -> float:
        """Up to a fifth sooner or later, so that contenders do not bid in step."""
        return self._times.retry * (1 + self._jitter() / 5)


def _time() -> float:
    return asyncio.get_running_loop().time()


def _decode(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Garbled("the answer is no JSON") from None


def _build_spec(lease: Lease) -> Json:
    return {
        "holderIdentity": lease.holder,
        # Whole seconds are all that the API takes; a shorter one would be no lease.
        "leaseDurationSeconds": max(1, math.ceil(lease.duration_seconds)),
        "acquireTime": lease.acquired or None,
        "renewTime": lease.renewed or None,
        "leaseTransitions": lease.transitions,
    }


def _parse_lease(item: object) -> Lease:
    """Raises Garbled if `item` is none."""
    members = item if isinstance(item, dict) else {}
    spec, metadata = members.get("spec") or {}, members.get("metadata") or {}
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if not isinstance(spec, dict) or not isinstance(version, str) or not version:
        raise Garbled("the answer is no Lease")
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    return Lease(
        holder=str(spec.get("holderIdentity") or ""),
        duration_seconds=float(duration) if isinstance(duration, int) and duration > 0 else 0.0,
        acquired=str(spec.get("acquireTime") or ""),
        renewed=str(spec.get("renewTime") or ""),
        transitions=transitions if isinstance(transitions, int) else 0,
        version=version,
    )
