"""The kind Pod, and the pod templates of other kinds."""

from __future__ import annotations

from datetime import timedelta

from model.pods import (
    DEFAULT_SERVICE_ACCOUNT,
    LOCALITY,
    HostAlias,
    Pod,
    PodTemplate,
    Workload,
    WorkloadKind,
    parse_locality,
    wants_sidecar,
)
from model.problem_codes import ProblemCode
from model.problems import Severity
from sources import ignored_fields
from sources.cluster_objects import PodManifest
from sources.containers import parse_containers
from sources.fields import Fields
from sources.kinds import Kind, Metadata
from sources.kubernetes_names import is_dns_label, is_dns_name, is_object_name, parse_address
from sources.labels import parse_annotations, parse_labels

_TEMPLATE_HASH = "pod-template-hash"


def parse_pod(root: Fields, metadata: Metadata) -> PodManifest | None:
    """A bare Pod; one with an address in its status runs already."""
    if not root.required("spec"):
        return None
    spec = root.child("spec")
    if spec is None:
        return None
    template = parse_pod_spec(spec, metadata)
    workload = Workload(kind=WorkloadKind.POD, ref=metadata.ref, template=template)
    status = root.child("status")
    return PodManifest(workload=workload, pod=_parse_status(status, metadata, template) if status else None)


def parse_template(fields: Fields, outer: Metadata) -> PodTemplate | None:
    """The `template` of a Deployment or StatefulSet, None without one."""
    template = fields.child("template") if fields.required("template") else None
    if template is None:
        return None
    metadata = Metadata(ref=outer.ref)
    inner = template.child("metadata")
    if inner is not None:
        labels, annotations = parse_labels(inner, "labels"), parse_annotations(inner)
        metadata = Metadata(ref=outer.ref, labels=labels, annotations=annotations)
        inner.finish((*ignored_fields.OBJECT_META, "name", "namespace", "creationTimestamp", "generateName", "uid"))
    spec = template.child("spec") if template.required("spec") else None
    template.finish()
    return parse_pod_spec(spec, metadata) if spec is not None else None


def parse_pod_spec(spec: Fields, metadata: Metadata) -> PodTemplate:
    """What a pod's `spec` says, with the labels and annotations of `metadata`."""
    if spec.required("containers") and spec.each("containers") == ():
        spec.problem(ProblemCode.MISSING_FIELD, "containers is empty", "Add a container.", field="containers")
    account = spec.text("serviceAccountName") or spec.text("serviceAccount") or DEFAULT_SERVICE_ACCOUNT
    if not is_object_name(account):
        message = f"{account[:80]!r} is no name for a ServiceAccount"
        fix = "Use lower-case letters, digits, '-' and '.'."
        spec.problem(ProblemCode.INVALID_NAME, message, fix, field="serviceAccountName")
    grace = spec.integer("terminationGracePeriodSeconds", default=30, minimum=0, maximum=10**8)
    spec.later("volumes", "securityContext", "dnsConfig", "dnsPolicy", "hostIPC", "hostPID", severity=Severity.INFO)
    containers = parse_containers(spec, "containers")
    template = PodTemplate(
        labels=metadata.labels,
        annotations=metadata.annotations,
        service_account=account,
        containers=containers,
        init_containers=parse_containers(spec, "initContainers", others=containers),
        host_aliases=tuple(_parse_alias(fields) for fields in spec.each("hostAliases")),
        hostname=_parse_label(spec, "hostname"),
        subdomain=_parse_label(spec, "subdomain"),
        host_network=spec.boolean("hostNetwork"),
        termination_grace=timedelta(seconds=grace),
        restart_policy=spec.defaulted_choice("restartPolicy", ("Always", "OnFailure", "Never"), "Always"),
    )
    spec.ignore("serviceAccount")
    spec.later("hostnameOverride")
    spec.finish(ignored_fields.POD_SPEC)
    return template


def _parse_label(spec: Fields, name: str) -> str:
    text = spec.text(name)
    if text and not is_dns_label(text):
        message = f"{name} is {text[:80]!r}, which is no DNS label"
        fix = "Use up to 63 lower-case letters, digits and '-'."
        spec.problem(ProblemCode.INVALID_NAME, message, fix, field=name)
    return text


def _parse_alias(fields: Fields) -> HostAlias:
    hostnames = fields.texts("hostnames")
    for index, name in enumerate(hostnames):
        if not is_dns_name(name):
            message = f"{name[:80]!r} is no host name"
            fix = "Use lower-case letters, digits, '-' and '.'."
            fields.problem(ProblemCode.INVALID_NAME, message, fix, field=f"hostnames[{index}]")
    alias = HostAlias(address=parse_address(fields, "ip"), hostnames=hostnames)
    fields.finish()
    return alias


def _parse_status(status: Fields, metadata: Metadata, template: PodTemplate) -> Pod | None:
    first = parse_address(status, "podIP")
    listed = []
    for entry in status.each("podIPs"):
        listed.append(parse_address(entry, "ip"))
        entry.finish()
    conditions = {}
    for condition in status.each("conditions"):
        conditions[condition.text("type")] = condition.text("status") == "True"
        condition.finish(ignored_fields.POD_CONDITION)
    status.finish(ignored_fields.POD_STATUS)
    addresses = sorted(
        {address for address in (first, *listed) if address}, key=lambda address: (":" in address, address)
    )
    if not addresses:
        return None
    return Pod(
        ref=metadata.ref,
        uid=metadata.uid or f"{metadata.ref.namespace}.{metadata.ref.name}",
        labels=metadata.labels,
        annotations=metadata.annotations,
        service_account=template.service_account,
        workload=_workload_name(metadata),
        addresses=tuple(addresses),
        ports=tuple(port for container in template.containers for port in container.ports),
        hostname=template.hostname,
        subdomain=template.subdomain,
        locality=parse_locality(metadata.labels.get(LOCALITY, "")),
        ready=conditions.get("Ready", not conditions),
        meshed=wants_sidecar(metadata.labels, metadata.annotations, host_network=template.host_network),
    )


def _workload_name(metadata: Metadata) -> str:
    # A Deployment's pod is owned by a ReplicaSet, named after the Deployment and the template's hash.
    return metadata.owner.removesuffix(f"-{metadata.labels.get(_TEMPLATE_HASH, '')}") or metadata.ref.name


KIND = Kind(group="", versions=("v1",), kind="Pod", parse=parse_pod, strict=False)
