"""Where a route sends: destinations, their weights, mirrors."""

from __future__ import annotations

from model.problem_codes import ProblemCode
from model.routing import Destination, Mirror, WeightedDestination
from sources.bounded import MAX_COUNT, checked, one_of, percentage, port_number
from sources.fields import Fields
from sources.hosts import service_host
from sources.istio_headers import parse_headers

MAX_DESTINATIONS = 100
"""With more, an API server would not take the rule about their weights: it is charged for 10,000 such routes."""
MAX_WEIGHT_SUM = (1 << 32) - 1
"""Envoy refuses a table whose weights sum to more."""

_SUBSET = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def check_subset_name(text: str) -> str:
    """`text` itself. Raises ValueError unless it is 1 to 63 letters, digits, '-', '_' and '.'."""
    if not 1 <= len(text) <= 63 or not _SUBSET.issuperset(text):
        raise ValueError(f"{text[:80]!r} is no subset name: 1 to 63 letters, digits, '-', '_' and '.'")
    return text


def parse_destination(fields: Fields, name: str, namespace: str) -> Destination | None:
    """The destination in a field, None after a problem."""
    if not fields.required(name):
        return None
    inner = fields.child(name)
    if inner is None:
        return None
    for misplaced, meant in (("name", "host"), ("weight", "weight beside destination"), ("labels", "subset")):
        if inner.node(misplaced) is not None:
            inner.problem(
                ProblemCode.MISPLACED_FIELD,
                f"a destination has no field {misplaced!r}",
                f"Write {meant} instead." if misplaced != "weight" else "Move weight one level up, beside destination.",
                field=misplaced,
            )
    host = service_host(inner, "host", namespace)
    subset = checked(inner, "subset", _optional_subset, "", fix="Name a subset of a DestinationRule for this host.")
    port = None
    port_fields = inner.child("port")
    if port_fields is not None:
        if port_fields.required("number"):
            port = port_number(port_fields, "number")
        port_fields.finish()
    inner.finish()
    return Destination(host=host, subset=subset, port=port) if host else None


def parse_route(fields: Fields, namespace: str) -> tuple[WeightedDestination, ...]:
    """The list `route`, its weights checked against each other."""
    found = []
    total = 0
    entries = fields.each("route")
    for entry in entries:
        destination = parse_destination(entry, "destination", namespace)
        weight = entry.integer("weight", default=0, minimum=0, maximum=MAX_COUNT)
        headers = parse_headers(entry)
        for misplaced in ("timeout", "retries", "match", "fault"):
            if entry.node(misplaced) is not None:
                message = f"{misplaced} belongs to the whole route, not to one destination"
                fix = f"Move {misplaced} two levels up, beside route."
                entry.problem(ProblemCode.MISPLACED_FIELD, message, fix, field=misplaced)
        entry.finish()
        total += weight
        if destination is not None:
            found.append(WeightedDestination(destination=destination, weight=weight, headers=headers))
    if len(entries) > 1 and total == 0:
        fix = "Give at least one destination a weight above 0."
        fields.problem(ProblemCode.INVALID_WEIGHTS, "the weights of route sum to 0", fix, field="route")
    if total > MAX_WEIGHT_SUM:
        message = f"the weights of route sum to {total}, more than {MAX_WEIGHT_SUM}"
        fields.problem(ProblemCode.INVALID_WEIGHTS, message, "Give shares of 100.", field="route")
    if len(entries) > MAX_DESTINATIONS:
        message = f"route has {len(entries)} destinations, more than {MAX_DESTINATIONS}"
        fields.problem(ProblemCode.TOO_LARGE, message, "Merge some of them into one Service.", field="route")
    return tuple(found)


def parse_mirrors(fields: Fields, namespace: str) -> tuple[Mirror, ...]:
    """`mirror` with its percentage, or the list `mirrors`."""
    one_of(fields, "mirror", "mirrors")
    old = "mirror_percent" if fields.has("mirror_percent") else "mirrorPercent"
    fields.ignore("mirrorPercent", "mirror_percent")
    share = percentage(fields, "mirrorPercentage", old)
    if not fields.has("mirror") and (fields.has("mirrorPercentage") or fields.has(old)):
        message = "a share is mirrored, but no mirror is named"
        fields.problem(ProblemCode.MISSING_FIELD, message, "Add mirror with the host of the copies.", field=old)
    found = []
    if fields.has("mirror"):
        destination = parse_destination(fields, "mirror", namespace)
        if destination is not None:
            found.append(Mirror(destination=destination, percentage=100.0 if share is None else share))
    else:
        fields.ignore("mirror")
    for entry in fields.each("mirrors"):
        destination = parse_destination(entry, "destination", namespace)
        share = percentage(entry, "percentage")
        entry.finish()
        if destination is not None:
            found.append(Mirror(destination=destination, percentage=100.0 if share is None else share))
    return tuple(found)


def _optional_subset(text: str) -> str:
    return check_subset_name(text) if text else ""
