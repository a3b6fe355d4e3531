"""The kind EndpointSlice."""

from __future__ import annotations

from model.problem_codes import ProblemCode
from sources import ignored_fields
from sources.cluster_objects import EndpointSlice, SliceEndpoint, SlicePort
from sources.fields import Fields
from sources.kinds import Kind, Metadata
from sources.kubernetes_names import parse_addresses

SERVICE_LABEL = "kubernetes.io/service-name"


def parse_endpoint_slice(root: Fields, metadata: Metadata) -> EndpointSlice:
    """An EndpointSlice of addresses. Slices of DNS names (`addressType: FQDN`) are reported."""
    if root.required("addressType"):
        kind = root.choice("addressType", ("IPv4", "IPv6", "FQDN"))
        if kind == "FQDN":
            message = "endpoints that are DNS names are not implemented yet"
            root.problem(ProblemCode.NOT_IMPLEMENTED, message, "Use IPv4 or IPv6.", field="addressType")
    return EndpointSlice(
        ref=metadata.ref,
        service=metadata.labels.get(SERVICE_LABEL, ""),
        endpoints=tuple(_parse_endpoint(fields) for fields in root.each("endpoints")),
        ports=tuple(port for fields in root.each("ports") if (port := _parse_port(fields))),
    )


def _parse_endpoint(fields: Fields) -> SliceEndpoint:
    fields.required("addresses")
    addresses = parse_addresses(fields, "addresses")
    ready, draining = True, False
    conditions = fields.child("conditions")
    if conditions is not None:
        ready = conditions.boolean("ready", True)
        serving, terminating = conditions.boolean("serving", True), conditions.boolean("terminating")
        draining = serving and terminating
        conditions.finish()
    pod = pod_namespace = ""
    target = fields.child("targetRef")
    if target is not None:
        if target.text("kind") == "Pod":
            pod, pod_namespace = target.text("name"), target.text("namespace")
        target.ignore("name")
        target.finish(ignored_fields.OBJECT_REFERENCE)
    endpoint = SliceEndpoint(
        addresses=addresses,
        ready=ready,
        draining=draining,
        hostname=fields.text("hostname"),
        pod=pod,
        pod_namespace=pod_namespace,
    )
    fields.finish(ignored_fields.ENDPOINT)
    return endpoint


def _parse_port(fields: Fields) -> SlicePort | None:
    number = fields.integer("port", minimum=1, maximum=65535)
    name = fields.text("name")
    fields.defaulted_choice("protocol", ("TCP", "UDP", "SCTP"), "TCP")
    fields.finish(ignored_fields.ENDPOINT_PORT)
    return SlicePort(name=name, number=number) if number is not None else None


KIND = Kind(group="discovery.k8s.io", versions=("v1",), kind="EndpointSlice", parse=parse_endpoint_slice, strict=False)
