"""Parts that several of Istio's kinds have."""

from __future__ import annotations

from sources.bounded import MAX_COUNT, MAX_PORT
from sources.hosts import MAX_HOST, MAX_LABEL
from sources.regex import MAX_CHARACTERS
from sources.schemas.parts import Schema, by_key, integer, items, kept_record, number, or_null, record, text, unbuilt

LABEL = "([A-Za-z0-9_]|[A-Za-z0-9_][A-Za-z0-9_-]*[A-Za-z0-9_])"
NAME = rf"{LABEL}(\.{LABEL})*"
_STEM = {"exact": text(), "prefix": text(), "regex": text(least=1, most=MAX_CHARACTERS)}


def port() -> Schema:
    """A port, 1 to 65535."""
    return integer(1, MAX_PORT)


def count() -> Schema:
    """A number of things."""
    return integer(0, MAX_COUNT)


def percentage() -> Schema:
    """`{value: 0..100}`."""
    return record({"value": number(0, 100)})


def port_selector() -> Schema:
    """`{number: PORT}`."""
    return record({"number": port()}, required=["number"])


def host() -> Schema:
    """A host that traffic is sent to."""
    return text(least=1, most=MAX_HOST, pattern=f"^{NAME}$")


def host_pattern() -> Schema:
    """A host, `*`, or `*.` before a host."""
    return text(least=1, most=MAX_HOST, pattern=rf"^(\*|(\*\.)?{NAME})$")


def string_match() -> Schema:
    """Istio's StringMatch; `{}` is presence."""
    return record(_STEM, at_most_one=[_STEM])


def needed_string_match() -> Schema:
    """A StringMatch that must say something."""
    return record(_STEM, at_most_one=[_STEM], least=1)


def labels() -> Schema:
    """Labels of workloads."""
    return by_key(text(most=MAX_LABEL))


def selector() -> Schema:
    """Istio's WorkloadSelector. Without its labels it would select everything, so that nothing of it may get lost."""
    return kept_record({"matchLabels": by_key(or_null(text(most=MAX_LABEL)))})


def target_ref() -> Schema:
    """What a policy is for, instead of a selector: an object by its name."""
    return record(
        {
            "group": text(most=253),
            "kind": text(least=1, most=63),
            "name": text(least=1, most=253),
            "namespace": text(),
        },
        required=["kind", "name"],
    )


def targets() -> dict[str, Schema]:
    """The fields `targetRef` and `targetRefs`."""
    return {"targetRef": unbuilt(target_ref()), "targetRefs": unbuilt(items(target_ref(), most=16))}


def export_to() -> Schema:
    """Namespaces, `.`, `*` or `~`."""
    return items(text(pattern=rf"^([.*~]|[a-z0-9_-]{{1,{MAX_LABEL}}})$"))
