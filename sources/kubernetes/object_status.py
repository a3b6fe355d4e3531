"""What the objects of a cluster say about themselves: `status.conditions`, as the API server has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile

from model.problems import ObjectRef
from sources.kubernetes.events import Json
from sources.kubernetes.resources import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition. `status` is `True`, `False` or `Unknown`; `since` is `lastTransitionTime` as it is written.

    `observed_generation` None where it is not said. Source: Kubernetes' metav1.Condition.
    """

    type: str
    status: str
    reason: str
    message: str = ""
    observed_generation: int | None = None
    since: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """Since when a generation of an object is in the store: `since` is the store's generation, or a later one.

    `change` grows with every object that is new or of another generation, and is no other object's.
    """

    ref: ObjectRef
    uid: str
    generation: int
    since: int
    change: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedStatus:
    """One object of a custom kind: which version of it there is, and what its status says.

    `path` is the object's own in the API; `api_version` the one in which it was read.
    """

    ref: ObjectRef
    path: str
    api_version: str
    uid: str
    generation: int
    observed_generation: int | None = None
    conditions: tuple[Condition, ...] = ()

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type."""
        return next((each for each in self.conditions if each.type == kind), None)


class ObjectStatuses:
    """All objects of custom kinds, kept by the source. `revision` grows with every difference."""

    def __init__(self) -> None:
        self.revision = 0
        self._held: dict[ObjectRef, tuple[ObservedStatus, InForce]] = {}
        """In the order of `InForce.change`."""

    def __iter__(self) -> Iterator[ObservedStatus]:
        return (observed for observed, _ in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def get(self, ref: ObjectRef) -> ObservedStatus | None:
        found = self._held.get(ref)
        return None if found is None else found[0]

    def in_force_since(self, ref: ObjectRef) -> int:
        """The store's generation in which the object's present generation was applied, or a later one."""
        return self._held[ref][1].since

    def changed_after(self, change: int, limit: int) -> tuple[InForce, ...]:
        """The `limit` objects at most that changed first after `change` (0: from the beginning), in that order."""
        newer = takewhile(lambda each: each.change > change, (each for _, each in reversed(self._held.values())))
        return tuple(reversed(tuple(newer)))[:limit]

    def update(self, changes: Mapping[ObjectRef, ObservedStatus | None], store_generation: int) -> None:
        """These objects are so now (None: gone), and the store has them since `store_generation` at the latest."""
        for ref, observed in changes.items():
            before, held = self._held.get(ref, (None, None))
            if before == observed:
                continue
            self.revision += 1
            if observed is None:
                del self._held[ref]
            elif held is not None and (held.uid, held.generation) == (observed.uid, observed.generation):
                self._held[ref] = observed, held
            else:
                self._held.pop(ref, None)
                self._held[ref] = (
                    observed,
                    InForce(
                        ref=ref,
                        uid=observed.uid,
                        generation=observed.generation,
                        since=store_generation,
                        change=self.revision,
                    ),
                )


def to_observed_status(resource: Resource, item: Json) -> ObservedStatus:
    """What `item`, an object of a custom kind, says. Whatever is no condition in its status is passed over."""
    metadata = item["metadata"]
    api_version = str(item.get("apiVersion") or f"{resource.group}/{resource.versions[0]}")
    name, namespace = str(metadata["name"]), str(metadata.get("namespace") or "")
    place = f"/namespaces/{namespace}" if namespace else ""
    status = item.get("status")
    return ObservedStatus(
        ref=ObjectRef(kind=resource.kind, namespace=namespace, name=name),
        path=f"/apis/{api_version}{place}/{resource.plural}/{name}",
        api_version=api_version,
        uid=str(metadata.get("uid") or ""),
        generation=_to_generation(metadata.get("generation")) or 0,
        observed_generation=_to_generation(status.get("observedGeneration")) if isinstance(status, dict) else None,
        conditions=to_conditions(item),
    )


def to_conditions(item: Json) -> tuple[Condition, ...]:
    """The conditions in the status of `item`."""
    status = item.get("status")
    said = status.get("conditions") if isinstance(status, dict) else None
    return tuple(map(_to_condition, filter(_is_condition, said if isinstance(said, list) else ())))


def _is_condition(said: object) -> bool:
    return isinstance(said, dict) and isinstance(said.get("type"), str)


def _to_condition(said: Json) -> Condition:
    return Condition(
        type=said["type"],
        status=str(said.get("status") or ""),
        reason=str(said.get("reason") or ""),
        message=str(said.get("message") or ""),
        observed_generation=_to_generation(said.get("observedGeneration")),
        since=str(said.get("lastTransitionTime") or ""),
    )


def _to_generation(said: object) -> int | None:
    """Istio writes a text there."""
    if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) < 20:
        return int(said)
    return said if isinstance(said, int) and not isinstance(said, bool) else None
