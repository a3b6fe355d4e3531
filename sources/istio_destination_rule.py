"""Istio's DestinationRule."""

from __future__ import annotations

from model.problem_codes import ProblemCode
from model.problems import Severity
from model.traffic import DestinationRule, Subset
from sources.bounded import checked
from sources.fields import Fields
from sources.hosts import export_to, service_host
from sources.istio_destination import check_subset_name
from sources.istio_traffic_policy import parse_traffic_policy
from sources.kinds import Kind, Metadata
from sources.labels import parse_labels

MAX_SUBSETS = 1000


def parse_destination_rule(fields: Fields, metadata: Metadata) -> DestinationRule | None:
    """The object's value, None after an error."""
    if not fields.required("spec"):
        return None
    spec = fields.child("spec")
    if spec is None:
        return None
    for name, kind in (("http", "VirtualService"), ("hosts", "VirtualService"), ("gateways", "VirtualService")):
        if spec.node(name) is not None:
            fix = "Write host (one text)." if name == "hosts" else f"Move {name} into a {kind}."
            message = f"{name} is a field of {kind}, a DestinationRule has none"
            spec.problem(ProblemCode.MISPLACED_FIELD, message, fix, field=name)
    host = service_host(spec, "host", metadata.ref.namespace, wildcard=True)
    visible = export_to(spec)
    policy = parse_traffic_policy(spec)
    subsets = _subsets(spec)
    # A rule for some workloads only must not come into force for all of them.
    spec.later("workloadSelector", severity=Severity.ERROR)
    spec.finish()
    if spec.report.failed:
        return None
    return DestinationRule(
        ref=metadata.ref, host=host, policy=policy, subsets=subsets, export_to=visible, created=metadata.created
    )


def _subsets(spec: Fields) -> tuple[Subset, ...]:
    entries = spec.each("subsets")
    if len(entries) > MAX_SUBSETS:
        message = f"subsets has {len(entries)} entries, more than {MAX_SUBSETS}"
        spec.problem(ProblemCode.TOO_LARGE, message, "Split the Service.", field="subsets")
        return ()
    found: dict[str, Subset] = {}
    for entry in entries:
        entry.required("name")
        name = checked(entry, "name", check_subset_name, "", fix="Name it as routes refer to it, such as v1.")
        labels = parse_labels(entry, "labels")
        policy = parse_traffic_policy(entry)
        entry.finish()
        if name in found:
            message = f"the subset {name} stands here a second time"
            entry.problem(ProblemCode.DUPLICATE_SUBSET, message, "Rename or remove one of the two.", field="name")
        elif name:
            found[name] = Subset(name=name, labels=labels, policy=policy)
    return tuple(found.values())


KIND = Kind(
    group="networking.istio.io",
    versions=("v1", "v1beta1", "v1alpha3"),
    kind="DestinationRule",
    parse=parse_destination_rule,
)
