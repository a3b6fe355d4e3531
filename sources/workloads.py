"""The kinds Deployment and StatefulSet."""

from __future__ import annotations

from model.pods import PodTemplate, Workload, WorkloadKind
from model.problem_codes import ProblemCode
from model.problems import Severity
from sources import ignored_fields
from sources.fields import Fields
from sources.kinds import Kind, Metadata
from sources.labels import parse_labels
from sources.pods import parse_template

MAX_REPLICAS = 10_000
"""A bound against mistyped numbers; far over what one machine can run."""


def parse_deployment(root: Fields, metadata: Metadata) -> Workload | None:
    """A Deployment, None without a template."""
    return _parse(root, metadata, WorkloadKind.DEPLOYMENT, ("paused", "strategy"), ignored_fields.DEPLOYMENT_SPEC)


def parse_stateful_set(root: Fields, metadata: Metadata) -> Workload | None:
    """A StatefulSet, None without a template."""
    later = ("updateStrategy", "volumeClaimTemplates")
    return _parse(root, metadata, WorkloadKind.STATEFUL_SET, later, ignored_fields.STATEFUL_SET_SPEC)


def _parse(
    root: Fields, metadata: Metadata, kind: WorkloadKind, later: tuple[str, ...], ignored: tuple[str, ...]
) -> Workload | None:
    spec = root.child("spec") if root.required("spec") else None
    if spec is None:
        return None
    template = parse_template(spec, metadata)
    replicas = spec.integer("replicas", default=1, minimum=0, maximum=MAX_REPLICAS)
    service_name = spec.text("serviceName") if kind is WorkloadKind.STATEFUL_SET else ""
    _check_selector(spec, template)
    if template is not None and template.restart_policy != "Always":
        message = f"pods of a {kind} are always started again; restartPolicy is {template.restart_policy}"
        inner = spec.child("template")
        pod = inner.child("spec") if inner is not None else None
        if pod is not None:
            pod.problem(ProblemCode.INVALID_VALUE, message, "Remove restartPolicy.", field="restartPolicy")
    spec.later(*later, severity=Severity.INFO)
    if kind is WorkloadKind.STATEFUL_SET:
        spec.later("ordinals")
    spec.finish(ignored)
    if template is None:
        return None
    return Workload(kind=kind, ref=metadata.ref, replicas=replicas, template=template, service_name=service_name)


def _check_selector(spec: Fields, template: PodTemplate | None) -> None:
    selector = spec.child("selector") if spec.required("selector") else None
    if selector is None:
        return
    wanted = parse_labels(selector, "matchLabels")
    if not wanted and not selector.has("matchExpressions"):
        message = "an empty selector is refused by Kubernetes: it would select every pod"
        fix = "Give matchLabels, as the template's labels."
        spec.problem(ProblemCode.INVALID_VALUE, message, fix, field="selector", severity=Severity.WARNING)
    selector.finish(("matchExpressions",))
    for key, value in wanted.items():
        if template is not None and template.labels.get(key) != value:
            message = f"the selector wants the label {key}={value}, which the template's pods do not have"
            fix = f"Add {key}: {value} to the template's labels, or correct the selector."
            spec.problem(ProblemCode.INVALID_VALUE, message, fix, field="selector")


KINDS = (
    Kind(group="apps", versions=("v1",), kind="Deployment", parse=parse_deployment, strict=False),
    Kind(group="apps", versions=("v1",), kind="StatefulSet", parse=parse_stateful_set, strict=False),
)
