"""How far a replica's sidecars are, as it tells the replica that leads: values, and their JSON.

Generations of a store are a process's own. What replicas have in common are the objects: uid and `metadata.generation`.
So a replica tells since which of its generations it has each object, and how many of its sidecars acknowledged which.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Final

from heddle.reasons import concise
from model.asker import Asker
from model.pods import ProxyKind
from model.problems import ObjectRef
from protos.type_urls import CLUSTER
from sources.kubernetes.object_status import InForce, ObjectStatuses
from xds.state import RejectedResource, StreamProgress

OBJECTS_AT_ONCE: Final = 2000
"""More are told by the next answers."""

MOST_REJECTIONS: Final = 200
MOST_STEPS: Final = 200
_MOST_WORDS: Final = 400


class BadProgress(ValueError):
    """An answer that does not say how far a replica is."""


@dataclass(frozen=True, kw_only=True)
class Acknowledgements:
    """How many sidecars have acknowledged which generation of their replica's store: ascending (generation, count)."""

    steps: tuple[tuple[int, int], ...] = ()

    @cached_property
    def sidecars(self) -> int:
        """How many there are."""
        return sum(count for _, count in self.steps)

    @cached_property
    def _left(self) -> tuple[int, ...]:
        return (0, *accumulate(count for _, count in self.steps))

    def of(self, generation: int) -> int:
        """How many have acknowledged this generation or a later one."""
        return self.sidecars - self._left[bisect_left(self.steps, (generation,))]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedAt:
    """A sidecar that refuses a resource, and Envoy's words.

    `assignment`: the name of its endpoints, which says what a cluster was made of whose own name is an address; `''`
    where that is the resource's name.
    """

    asker: Asker
    type_url: str
    resource: str
    words: str
    assignment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaProgress:
    """One answer. `process` is another one each time the replica starts; `objects` are those that changed after what
    was asked for, as many as fit. `untold`: how many rejections did not."""

    process: str
    acknowledged: Acknowledgements
    rejections: tuple[RejectedAt, ...] = ()
    untold: int = 0
    objects: tuple[InForce, ...] = ()


def count_acknowledgements(progress: Sequence[StreamProgress]) -> Acknowledgements:
    """Of these streams. Of too many different generations the lowest count as one, the lowest of all."""
    counts = sorted(Counter(each.acknowledged_generation for each in progress).items())
    if len(counts) > MOST_STEPS:
        low, high = counts[: 1 - MOST_STEPS], counts[1 - MOST_STEPS :]
        counts = [(low[0][0], sum(count for _, count in low)), *high]
    return Acknowledgements(steps=tuple(counts))


def list_rejections(progress: Sequence[StreamProgress]) -> tuple[RejectedAt, ...]:
    """Everything that these streams refuse at present."""
    return tuple(to_rejected(each.asker, *rejected) for each in progress for rejected in each.rejected)


def to_progress(
    process: str, streams: Sequence[StreamProgress], statuses: ObjectStatuses, *, known_process: str, known_change: int
) -> ReplicaProgress:
    """What to answer to who knows of `known_process` all objects up to `known_change`."""
    rejections = list_rejections(streams)
    return ReplicaProgress(
        process=process,
        acknowledged=count_acknowledgements(streams),
        rejections=rejections[:MOST_REJECTIONS],
        untold=max(0, len(rejections) - MOST_REJECTIONS),
        objects=statuses.changed_after(known_change if known_process == process else 0, OBJECTS_AT_ONCE),
    )


def to_json(progress: ReplicaProgress) -> dict[str, Any]:
    return {
        "process": progress.process,
        "acknowledged": progress.acknowledged.steps,
        "untold": progress.untold,
        "rejections": [
            {
                "namespace": each.asker.namespace,
                "pod": each.asker.pod,
                "service_account": each.asker.service_account,
                "kind": each.asker.kind,
                "labels": dict(each.asker.labels),
                "type": each.type_url,
                "resource": each.resource,
                "words": each.words,
                "assignment": each.assignment,
            }
            for each in progress.rejections
        ],
        "objects": [
            (each.ref.kind, each.ref.namespace, each.ref.name, each.uid, each.generation, each.since, each.change)
            for each in progress.objects
        ],
    }


def parse_progress(said: object) -> ReplicaProgress:
    """Raises BadProgress."""
    try:
        match said:
            case {
                "process": str(process),
                "acknowledged": list(steps),
                "untold": int(untold),
                "rejections": list(rejections),
                "objects": list(objects),
            }:
                return ReplicaProgress(
                    process=process,
                    acknowledged=Acknowledgements(
                        steps=tuple(sorted((int(step), int(count)) for step, count in steps))
                    ),
                    untold=untold,
                    rejections=tuple(map(_parse_rejected, rejections)),
                    objects=tuple(map(_parse_in_force, objects)),
                )
            case _:
                raise BadProgress("the answer is no progress")
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise BadProgress(f"the answer is no progress: {error}") from None


def to_rejected(asker: Asker, type_url: str, rejected: RejectedResource) -> RejectedAt:
    """What `asker` refuses of that type."""
    return RejectedAt(
        asker=asker,
        type_url=type_url,
        resource=rejected.name,
        words=concise(rejected.message)[:_MOST_WORDS],
        assignment="".join(rejected.needs) if type_url == CLUSTER else "",
    )


def _parse_rejected(said: Mapping[str, Any]) -> RejectedAt:
    asker = Asker(
        namespace=str(said["namespace"]),
        pod=str(said["pod"]),
        service_account=str(said["service_account"]),
        kind=ProxyKind(said["kind"]),
        labels={str(name): str(value) for name, value in said["labels"].items()},
    )
    return RejectedAt(
        asker=asker,
        type_url=str(said["type"]),
        resource=str(said["resource"]),
        words=str(said["words"]),
        assignment=str(said.get("assignment", "")),  # a replica of an older version does not say
    )


def _parse_in_force(said: Sequence[Any]) -> InForce:
    kind, namespace, name, uid, generation, since, change = said
    return InForce(
        ref=ObjectRef(kind=str(kind), namespace=str(namespace), name=str(name)),
        uid=str(uid),
        generation=int(generation),
        since=int(since),
        change=int(change),
    )
