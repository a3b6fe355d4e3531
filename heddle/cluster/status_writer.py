"""The leader's duty to write conditions into the status of Istio's objects, by server-side apply.

Nothing is written that is there already, whoever wrote it. Rights: patch on `virtualservices/status`,
`destinationrules/status`, `gateways/status`, `sidecars/status` (networking.istio.io), `peerauthentications/status` and
`authorizationpolicies/status` (security.istio.io), nothing else.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

import structlog

from heddle.cluster.all_sidecars import AllSidecars
from heddle.cluster.object_conditions import Delivery, Refusal, build_conditions, is_same, is_settled
from heddle.cluster.peers import Others, Peers
from heddle.cluster.token_bucket import TokenBucket
from model.problems import ObjectRef, Problem
from sources.kinds import Object
from sources.kubernetes.api import APPLY_PATCH, Api, Refused, Unreachable
from sources.kubernetes.events import Garbled, Json
from sources.kubernetes.object_status import Condition, ObjectStatuses, ObservedStatus, to_conditions
from sources.store import Store
from xds.state import StreamProgress

FIELD_MANAGER = "heddle"
_APPLY = {"fieldManager": FIELD_MANAGER, "force": "true"}
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0
_CONFLICT, _TOO_MANY = 409, 429
_NOT_US = (401, 403)
"""Rights that are missing: not this object's fault, and not mended soon."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What was written over `before`, and what the server made of it, which may be less; None if it refused."""

    wanted: tuple[Condition, ...]
    before: ObservedStatus
    after: tuple[Condition, ...] | None


class _Inputs(NamedTuple):
    observed: ObservedStatus
    problems: tuple[Problem, ...]
    delivery: Delivery
    refusal: Refusal | None

    def is_same(self, other: _Inputs) -> bool:
        return self.observed is other.observed and self[1:] == other[1:]


def _refusal(in_force: Object | None) -> Refusal:
    """What is said of a refused object of which that is in force."""
    if in_force is None:
        return Refusal.NONE
    return Refusal.STAND_IN if in_force.stand_in else Refusal.EARLIER


class StatusWriter:
    """At most `per_second` writes a second (after `burst` at once), those first that have waited longest.

    It looks every `look_seconds` for what differs; what changes in between is written once. `progress` says how far
    every sidecar of this replica is, `peers` those of the others (None: there are none). The first look is after
    `settle_seconds`: sidecars are connecting and come before it, and what they have is not known yet.
    """

    def __init__(
        self,
        *,
        api: Api,
        store: Store,
        statuses: ObjectStatuses,
        progress: Callable[[], Sequence[StreamProgress]],
        now: Callable[[], datetime],
        jitter: Callable[[], float],
        peers: Peers | None = None,
        per_second: float = 20.0,
        burst: float = 40.0,
        look_seconds: float = 1.0,
        settle_seconds: float = 0.0,
    ) -> None:
        self._api = api
        self._store = store
        self._statuses = statuses
        self._progress = progress
        self._now = now
        self._jitter = jitter
        self._peers = peers
        self._rate = (per_second, burst)
        self._look_seconds = look_seconds
        self._settle_seconds = settle_seconds
        self._looked_at: tuple[object, ...] | None = None
        self._considered: dict[ObjectRef, _Inputs] = {}
        """What each object's conditions were last worked out from."""
        self._pending: dict[ObjectRef, tuple[Condition, ...]] = {}
        self._written: dict[ObjectRef, _Written] = {}
        self._news = asyncio.Event()
        self._failures = 0

    async def run(self) -> None:
        """Until cancelled. Begins with a look at everything: another leader may have written meanwhile."""
        self._looked_at = None
        self._considered.clear()
        self._pending.clear()
        if self._peers is not None:
            self._peers.forget()
        async with asyncio.TaskGroup() as tasks:
            if self._peers is not None:
                tasks.create_task(self._peers.run())
            tasks.create_task(self._look_for_ever())
            tasks.create_task(self._write_for_ever())

    # What to write

    async def _look_for_ever(self) -> None:
        await asyncio.sleep(self._settle_seconds)
        if self._peers is not None:
            # Of sidecars that are not known yet nothing is to be said.
            await self._peers.asked()
        while True:
            await self._look()
            if self._pending:
                self._news.set()
            await asyncio.sleep(self._look_seconds)

    async def _look(self) -> None:
        """Works out what every object should say, unless nothing that it depends on differs from the last time."""
        problems, progress = await self._problems(), tuple(self._progress())
        own, told, others = "", 0, Others()
        if self._peers is not None:
            own, told, others = self._peers.own_pod, self._peers.revision, self._peers.others()
        looked_at = (problems, self._statuses.revision, progress, told, others.unasked, len(others.states))
        if looked_at == self._looked_at:
            return
        self._looked_at = looked_at
        of_each: defaultdict[ObjectRef, list[Problem]] = defaultdict(list)
        for problem in problems:
            if problem.object is not None:
                of_each[problem.object].append(problem)
        sidecars = AllSidecars(own, progress, others)
        root, refused = self._store.mesh.settings.root_namespace, self._store.refused
        observed = tuple(self._statuses)
        for number, each in enumerate(observed):
            if number % 20 == 19:
                # Sidecars that wait for their configuration come first.
                await asyncio.sleep(0)
            if self._statuses.get(each.ref) is each:
                found = self._store.objects.get(each.ref)
                value = found.value if found is not None else None
                delivery = sidecars.delivery(each, self._statuses.in_force_since(each.ref), value, root)
                refusal = _refusal(found) if each.ref in refused else None
                self._consider(_Inputs(each, tuple(of_each.get(each.ref, ())), delivery, refusal))
        gone = {each.ref for each in observed}
        for held in (self._pending, self._written, self._considered):
            for ref in held.keys() - gone:
                held.pop(ref)

    async def _problems(self) -> tuple[Problem, ...]:
        """Those of a moment ago: to look through a large mesh takes long, and sidecars are not to wait for it."""
        search = self._store.problem_search()
        if search is None:
            return self._store.problems_read
        found = await asyncio.to_thread(search.run)
        self._store.keep_problems(search, found)
        return found

    def _consider(self, inputs: _Inputs) -> None:
        """Most objects are as they were: nothing is worked out for those."""
        ref = inputs.observed.ref
        before = self._considered.get(ref)
        if before is None or not before.is_same(inputs):
            self._considered[ref] = inputs
            self._want(inputs.observed, build_conditions(*inputs))

    def _want(self, observed: ObservedStatus, wanted: tuple[Condition, ...]) -> None:
        if self._is_done(observed, wanted):
            self._pending.pop(observed.ref, None)
        else:
            # A key that is there keeps its place: it has waited longest.
            self._pending[observed.ref] = wanted

    def _is_done(self, observed: ObservedStatus, wanted: tuple[Condition, ...]) -> bool:
        last = self._written.get(observed.ref)
        written = last is not None and is_same(last.wanted, wanted) and _is_known(observed, last)
        return written or is_settled(observed, wanted)

    # Writing

    async def _write_for_ever(self) -> None:
        per_second, burst = self._rate
        bucket = TokenBucket(per_second=per_second, burst=burst)
        time = asyncio.get_running_loop().time
        while True:
            await self._news.wait()
            self._news.clear()
            while self._pending:
                await asyncio.sleep(bucket.take(time()))
                # Meanwhile it may have settled, or be another; or it was asked for again while it was being written.
                ref = next(iter(self._pending), None)
                wanted = self._pending.pop(ref) if ref is not None else ()
                observed = self._statuses.get(ref) if ref is not None else None
                if observed is None or self._is_done(observed, wanted):
                    continue
                if wait := await self._write(observed, wanted):
                    await asyncio.sleep(wait)

    async def _write(self, observed: ObservedStatus, wanted: tuple[Condition, ...]) -> float:
        """Writes one object's conditions; how many seconds to leave the API server alone afterwards."""
        instant = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        dated = tuple(each if each.since else replace(each, since=instant) for each in wanted)
        after: tuple[Condition, ...] | None = None
        try:
            answer = await self._api.write(
                "PATCH", f"{observed.path}/status", _build_body(observed, dated), query=_APPLY, content_type=APPLY_PATCH
            )
            after = to_conditions(answer)
        except Refused as error:
            code = error.refusal.code
            if code == _TOO_MANY or code >= 500 or code in _NOT_US:
                return self._trouble(observed, wanted, str(error), error.retry_after)
            if code == _CONFLICT:
                # Another object of the same name, or a newer version: it will be seen, and looked at then.
                self._looked_at = None
                self._considered.pop(observed.ref, None)
                return 0.0
            # This object takes no status (it is gone, or its definition has none): not asked again for the same.
            _log.info("status.refused", object=str(observed.ref), code=code, reason=str(error))
        except (Unreachable, Garbled) as error:
            return self._trouble(observed, wanted, str(error), 0.0)
        self._failures = 0
        self._written[observed.ref] = _Written(wanted=wanted, before=observed, after=after)
        return 0.0

    def _trouble(
        self, observed: ObservedStatus, wanted: tuple[Condition, ...], reason: str, retry_after: float
    ) -> float:
        """Back into the queue, at its end."""
        if not self._failures:
            _log.warning("status.trouble", object=str(observed.ref), reason=reason)
        self._pending.setdefault(observed.ref, wanted)
        wait: float = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(self._failures, 16))
        self._failures += 1
        return max(retry_after, wait * (1 + self._jitter() / 5))


def _is_known(observed: ObservedStatus, last: _Written) -> bool:
    """Whether the object is as our last write found it or left it: it was written, and may not have been seen yet."""
    return observed == last.before or (
        last.after is not None and (observed.uid, observed.conditions) == (last.before.uid, last.after)
    )


def _build_body(observed: ObservedStatus, conditions: tuple[Condition, ...]) -> Json:
    return {
        "apiVersion": observed.api_version,
        "kind": observed.ref.kind,
        # With the uid, so that an object made anew meanwhile is not taken for this one.
        "metadata": {"name": observed.ref.name, "namespace": observed.ref.namespace, "uid": observed.uid},
        "status": {
            # Of what the conditions speak of: the object may be another by now.
            "observedGeneration": conditions[0].observed_generation,
            "conditions": [
                {
                    "type": each.type,
                    "status": each.status,
                    "reason": each.reason,
                    "message": each.message,
                    "lastTransitionTime": each.since,
                    "observedGeneration": each.observed_generation,
                }
                for each in conditions
            ],
        },
    }
