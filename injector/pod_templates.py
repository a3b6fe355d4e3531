"""Where the pods are in the objects that have some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from injector.pod_values import Json, MalformedPod
from model.problems import ObjectRef

_TEMPLATE: Final = ("spec", "template")
_PLACES: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("", "Pod"): (),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlace:
    """A pod, or a pod template, in a document. `path` leads to it: keys, and numbers for items of lists.

    `field` is the same as text, '' for the document itself.
    """

    ref: ObjectRef
    path: tuple[str | int, ...]
    pod: Json

    @property
    def field(self) -> str:
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path).removeprefix(".")

    @property
    def workload(self) -> str:
        """The name that the pods' sidecars go by: what makes them."""
        return self.ref.name


def find_pods(document: object, *, namespace: str) -> Iterator[PodPlace]:
    """Every pod in an object, or in a List of them. `namespace` is for objects that do not say theirs.

    Raises MalformedPod for an object that should have a pod and has none.
    """
    yield from _find(document, (), namespace)


def object_ref(document: Json, namespace: str) -> ObjectRef:
    """The name of an object, as far as it says one."""
    metadata = document.get("metadata")
    named: Json = metadata if isinstance(metadata, dict) else {}
    name = named.get("name") or named.get("generateName") or "?"
    return ObjectRef(kind=str(document.get("kind")), namespace=str(named.get("namespace") or namespace), name=str(name))


def replace_at(document: Any, path: tuple[str | int, ...], value: Json) -> Any:
    """The document with another value at `path`; itself is not changed."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(document, list):
        return [replace_at(item, rest, value) if number == step else item for number, item in enumerate(document)]
    return {name: replace_at(item, rest, value) if name == step else item for name, item in document.items()}


def _find(document: object, path: tuple[str | int, ...], namespace: str) -> Iterator[PodPlace]:
    if not isinstance(document, dict):
        return
    kind, version = document.get("kind"), document.get("apiVersion")
    items = document.get("items")
    if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
        for number, item in enumerate(items):
            yield from _find(item, (*path, "items", number), namespace)
        return
    if not isinstance(kind, str) or not isinstance(version, str):
        return
    steps = _PLACES.get((version.rpartition("/")[0], kind))
    if steps is None:
        return
    pod: object = document
    for number, step in enumerate(steps):
        pod = pod.get(step) if isinstance(pod, dict) else None
        if pod is None:
            raise MalformedPod(".".join(steps[: number + 1]), f"mapping, which a {kind} must have")
    if not isinstance(pod, dict):
        raise MalformedPod(".".join(steps), "mapping")
    yield PodPlace(ref=object_ref(document, namespace), path=(*path, *steps), pod=pod)
