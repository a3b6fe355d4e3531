"""The sidecars of all replicas, and how far they are with one object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from heddle.cluster.concerns import concerns
from heddle.cluster.object_conditions import Delivery, Rejection
from heddle.cluster.peers import Others, PeerState
from heddle.cluster.replica_progress import RejectedAt, count_acknowledgements, list_rejections
from sources.kubernetes.object_status import InForce, ObservedStatus
from xds.state import StreamProgress


class AllSidecars:
    """Those of this replica (`own` is its name) as `progress` has them, and those of the others."""

    def __init__(self, own: str, progress: Sequence[StreamProgress], others: Others) -> None:
        self._others = others
        self._acknowledged = count_acknowledgements(progress)
        told = ((state.replica, state.rejections) for state in others.states)
        self._rejected = tuple(
            (replica, each) for replica, rejections in ((own, list_rejections(progress)), *told) for each in rejections
        )

    def delivery(self, observed: ObservedStatus, since: int, value: object, root_namespace: str) -> Delivery:
        """How far an object is that is in force here since generation `since`, as `value` (None: it is not)."""
        rejections = tuple(self._rejections(value, root_namespace)) if value is not None else ()
        states = self._others.states
        # Where not all rejections are told, one may be this object's.
        untold = () if rejections else tuple(state.replica for state in states if state.untold)
        reached = tuple((state, held) for state in states if (held := _held(state, observed)) is not None)
        return Delivery(
            sidecars=self._acknowledged.sidecars + sum(state.acknowledged.sidecars for state in states),
            acknowledged=self._acknowledged.of(since)
            + sum(state.acknowledged.of(held.since) for state, held in reached),
            rejections=rejections,
            replicas=1 + len(states) + len(self._others.unasked),
            unasked=tuple(sorted((*self._others.unasked, *untold))),
            behind=tuple(sorted({state.replica for state in states} - {state.replica for state, _ in reached})),
        )

    def _rejections(self, value: object, root_namespace: str) -> Iterator[Rejection]:
        for replica, each in self._rejected:
            if concerns(value, each.asker, each.type_url, each.assignment or each.resource, root_namespace):
                yield _to_rejection(replica, each)


def _held(state: PeerState, observed: ObservedStatus) -> InForce | None:
    """This generation of the object at another replica; None if that had not read it when it answered.

    Then even the number of its sidecars says nothing: some may have come since.
    """
    held = state.objects.get(observed.ref)
    return held if held is not None and held.uid == observed.uid and held.generation >= observed.generation else None


def _to_rejection(replica: str, each: RejectedAt) -> Rejection:
    sidecar = f"{each.asker.namespace}/{each.asker.pod}"
    return Rejection(sidecar=sidecar, replica=replica, resource=each.resource, words=each.words)
