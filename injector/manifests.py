"""Manifests in, manifests with sidecars out: what `heddle inject` prints and `heddle check-inject` explains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from injector.decide import Decision, decide
from injector.inject_pod import Injected, inject_pod
from injector.manifest_text import Chunk, join_chunks, place_problem, read_chunks
from injector.names import RECORD
from injector.pod_templates import PodPlace, find_pods, object_ref, replace_at
from injector.pod_values import Json, MalformedPod, annotations_of, check_shape
from injector.record import original_pod
from injector.settings import InjectionSettings
from injector.yaml_output import dump_yaml, to_plain
from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Problem, Severity
from sources.yaml_documents import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One pod or pod template, and what is decided about it. `injected` already: by hand, in the file."""

    ref: ObjectRef
    decision: Decision
    problems: tuple[Problem, ...] = ()
    injected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedText:
    """`text` None: there is an error among the problems."""

    text: str | None
    explained: tuple[Explained, ...]
    problems: tuple[Problem, ...]


def inject_text(text: bytes, *, file: str, settings: InjectionSettings, namespace: str = "default") -> InjectedText:
    """Every pod in `text` that can have a sidecar gets one.

    Documents in which nothing changes stay as they are written. `namespace` is for objects that do not say theirs.
    """
    written: list[str] = []
    explained: list[Explained] = []
    problems: list[Problem] = []
    for chunk in read_chunks(text, file):
        changed = False
        plain = []
        problems += chunk.problems
        for document in chunk.documents:
            value: Any = to_plain(document.root)
            found, faults = _pods(value, document, chunk, namespace)
            problems += faults
            for place in found:
                one, pod = _inject(place, document, chunk, settings)
                explained.append(one)
                problems += one.problems
                if pod is not None:
                    value, changed = replace_at(value, place.path, pod), True
            plain.append(value)
        written.append("---\n".join(map(dump_yaml, plain)) if changed else chunk.text)
    if any(problem.severity is Severity.ERROR for problem in problems):
        return InjectedText(text=None, explained=tuple(explained), problems=tuple(problems))
    return InjectedText(text=join_chunks(written), explained=tuple(explained), problems=tuple(problems))


def explain_text(
    text: bytes,
    *,
    file: str,
    settings: InjectionSettings,
    namespaces: Mapping[str, Mapping[str, str]],
    namespace: str = "default",
) -> tuple[tuple[Explained, ...], tuple[Problem, ...]]:
    """What the webhook would do with every pod in `text`, where the namespaces have these labels."""
    explained: list[Explained] = []
    problems: list[Problem] = []
    for chunk in read_chunks(text, file):
        problems += chunk.problems
        for document in chunk.documents:
            found, faults = _pods(to_plain(document.root), document, chunk, namespace)
            problems += faults
            for place in found:
                labels = namespaces.get(place.ref.namespace, {})
                explained.append(_explain(place, document, chunk, settings, labels))
    return tuple(explained), tuple(problems)


def namespace_labels(text: bytes) -> dict[str, dict[str, str]]:
    """The labels of the Namespaces in `text`, by name; of what cannot be read nothing."""
    labels: dict[str, dict[str, str]] = {}
    for chunk in read_chunks(text, ""):
        for document in chunk.documents:
            for value in _objects(to_plain(document.root)):
                if value.get("kind") == "Namespace" and value.get("apiVersion") == "v1":
                    metadata = value.get("metadata")
                    given = metadata.get("labels") if isinstance(metadata, dict) else None
                    named = given.items() if isinstance(given, dict) else ()
                    labels[object_ref(value, "").name] = {key: str(each) for key, each in named}
    return labels


def _pods(
    value: object, document: Document, chunk: Chunk, namespace: str
) -> tuple[list[PodPlace], tuple[Problem, ...]]:
    found: list[PodPlace] = []
    try:
        for place in find_pods(value, namespace=namespace):
            found.append(place)
            check_shape(place.pod)
            original_pod(place.pod)
    except MalformedPod as malformed:
        place_field = found[-1].field if found else ""
        field = ".".join(part for part in (place_field, malformed.field) if part)
        ref = found[-1].ref if found else object_ref(value, namespace) if isinstance(value, dict) else None
        message, fix = f"{field} is no {malformed.expected}", f"Make it a {malformed.expected.partition(',')[0]}."
        code = ProblemCode.WRONG_TYPE
        problem = Problem(severity=Severity.ERROR, code=code, message=message, fix=fix, object=ref, field=field)
        return [], (place_problem(problem, document, chunk),)
    return found, ()


def _inject(
    place: PodPlace, document: Document, chunk: Chunk, settings: InjectionSettings
) -> tuple[Explained, Json | None]:
    original = original_pod(place.pod)
    decision = decide(original, namespace=place.ref.namespace, namespace_labels={}, settings=settings, asked=True)
    if not decision.inject:
        return Explained(ref=place.ref, decision=decision), None
    injected = inject_pod(place.pod, settings, workload=place.workload)
    problems = _of_template(injected, place, document, chunk)
    pod = None if injected.pod == place.pod else injected.pod
    return Explained(ref=place.ref, decision=decision, problems=problems), pod


def _explain(
    place: PodPlace, document: Document, chunk: Chunk, settings: InjectionSettings, labels: Mapping[str, str]
) -> Explained:
    decision = decide(
        original_pod(place.pod), namespace=place.ref.namespace, namespace_labels=labels, settings=settings
    )
    problems: tuple[Problem, ...] = ()
    if decision.inject:
        problems = _of_template(inject_pod(place.pod, settings), place, document, chunk)
    already = RECORD in annotations_of(place.pod)
    return Explained(ref=place.ref, decision=decision, problems=problems, injected=already)


def _of_template(injected: Injected, place: PodPlace, document: Document, chunk: Chunk) -> tuple[Problem, ...]:
    """The problems of a pod as problems of the object that it stands in."""
    return tuple(
        place_problem(
            replace(problem, object=place.ref, field=".".join(part for part in (place.field, problem.field) if part)),
            document,
            chunk,
        )
        for problem in injected.problems
    )


def _objects(value: object) -> Iterator[Json]:
    if isinstance(value, dict):
        items = value.get("items")
        if isinstance(items, list) and str(value.get("kind")).endswith("List"):
            for item in items:
                yield from _objects(item)
        else:
            yield value
