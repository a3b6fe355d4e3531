"""`metadata`: who an object is."""

from __future__ import annotations

from datetime import UTC, datetime

from model.problem_codes import ProblemCode
from model.problems import ObjectRef
from sources import ignored_fields
from sources.fields import Fields
from sources.kinds import Metadata
from sources.kubernetes_names import is_dns_label, is_object_name
from sources.labels import parse_annotations, parse_labels

DEFAULT_NAMESPACE = "default"


def parse_ref(kind: str, namespaced: bool, root: Fields) -> ObjectRef | None:
    """The object's name, or None if it has none that could be one. Files nothing: `parse_metadata` does.

    A namespace that is no text names no object either: to take it for the default one would let go of the right one.
    """
    node = root.node("metadata")
    members = node.value if node is not None else None
    if not isinstance(members, dict):
        return None
    name = members["name"].value if "name" in members else None
    namespace = members["namespace"].value if "namespace" in members else None
    if not isinstance(name, str) or not name:
        return None
    if not namespaced:
        return ObjectRef(kind=kind, name=name)
    if namespace is None or namespace == "":
        namespace = DEFAULT_NAMESPACE
    return ObjectRef(kind=kind, namespace=namespace, name=name) if isinstance(namespace, str) else None


def parse_metadata(ref: ObjectRef, root: Fields) -> Metadata:
    """Checks the metadata of an object that has a name."""
    fields = root.child("metadata")
    if fields is None:
        return Metadata(ref=ref)
    name, namespace = fields.text("name"), fields.text("namespace") or DEFAULT_NAMESPACE
    if not is_object_name(name):
        message = f"{name[:80]!r} is no name for an object"
        fix = "Use lower-case letters, digits, '-' and '.', with a letter or digit at both ends."
        fields.problem(ProblemCode.INVALID_NAME, message, fix, field="name")
    if not is_dns_label(namespace):
        message = f"{namespace[:80]!r} is no name for a namespace"
        fix = "Use up to 63 lower-case letters, digits and '-'."
        fields.problem(ProblemCode.INVALID_NAME, message, fix, field="namespace")
    fields.ignore("generateName")
    annotations = parse_annotations(fields)
    metadata = Metadata(
        ref=ref,
        labels=parse_labels(fields, "labels"),
        annotations=annotations,
        created=_parse_instant(fields, "creationTimestamp"),
        uid=fields.text("uid"),
        owner=_parse_owner(fields),
    )
    fields.finish(ignored_fields.OBJECT_META)
    return metadata


def _parse_instant(fields: Fields, name: str) -> datetime | None:
    text = fields.text(name)
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        message = f"{name} is {text[:80]!r}, which is no instant"
        fields.problem(ProblemCode.INVALID_VALUE, message, "Write it like 2026-01-31T12:00:00Z.", field=name)
        return None
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


def _parse_owner(fields: Fields) -> str:
    owner = ""
    for reference in fields.each("ownerReferences"):
        name, kind, controls = reference.text("name"), reference.text("kind"), reference.boolean("controller")
        reference.finish(ignored_fields.OWNER_REFERENCE)
        if controls and kind:
            owner = name
    return owner
