"""VirtualServices: destinations that are not there, hosts that another object routes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from model.host_patterns import patterns
from model.names import host_namespace
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from model.routing import MESH_GATEWAY, Destination, Forward, VirtualService
from model.services import Protocol, Resolution
from sources.inventory import Inventory
from sources.kinds import Object


def check_virtual_service(entry: Object, inventory: Inventory) -> Iterator[Problem]:
    """The problems of one VirtualService."""
    value = entry.value
    if not isinstance(value, VirtualService):
        return
    for index, route in enumerate(value.http):
        path = f"spec.http[{index}]"
        if isinstance(route.action, Forward):
            for position, weighted in enumerate(route.action.destinations):
                field = f"{path}.route[{position}].destination"
                yield from _check_destination(weighted.destination, field, value, inventory)
        for position, mirror in enumerate(route.mirrors):
            single = entry.find(f"{path}.mirror")
            field = f"{path}.mirror" if single is not None else f"{path}.mirrors[{position}].destination"
            yield from _check_destination(mirror.destination, field, value, inventory)
    if MESH_GATEWAY in value.gateways:
        for index, host in enumerate(value.hosts):
            yield from _check_host(host, f"spec.hosts[{index}]", value, inventory)


def unknown_host(host: str, namespace: str, field: str, inventory: Inventory, severity: Severity) -> Problem:
    """A host that no Service has, with the one that was probably meant."""
    meant = inventory.suggest_host(host, namespace)
    fix = f"Did you mean {meant}?" if meant else f"Add a Service for {host}, or correct the name."
    return Problem(
        severity=severity,
        code=ProblemCode.UNKNOWN_HOST,
        message=f"no Service has the host {host}",
        fix=fix,
        field=field,
    )


def _check_destination(
    destination: Destination, field: str, owner: VirtualService, inventory: Inventory
) -> Iterator[Problem]:
    service = inventory.mesh.services.get(destination.host)
    if service is None:
        yield unknown_host(destination.host, owner.ref.namespace, f"{field}.host", inventory, Severity.ERROR)
        return
    if destination.port is not None and service.port(destination.port) is None:
        ports = ", ".join(str(port.number) for port in service.ports)
        yield Problem(
            severity=Severity.ERROR,
            code=ProblemCode.UNKNOWN_PORT,
            message=f"{service.ref} has no port {destination.port}",
            fix=f"Use one of its ports: {ports}." if ports else f"Add the port to {service.ref}.",
            field=f"{field}.port.number",
        )
    if destination.subset:
        yield from _check_subset(destination, field, owner, inventory)


def _check_subset(
    destination: Destination, field: str, owner: VirtualService, inventory: Inventory
) -> Iterator[Problem]:
    root = inventory.mesh.settings.root_namespace
    near = (owner.ref.namespace, host_namespace(destination.host), root)
    known = {
        subset.name
        for pattern in patterns(destination.host)
        for rule in inventory.mesh.destination_rules.get(pattern, ())
        if rule.ref.namespace in near
        for subset in rule.subsets
    }
    if destination.subset in known:
        return
    close = difflib.get_close_matches(destination.subset, sorted(known), 1)
    if close:
        fix = f"Did you mean {close[0]}?"
    elif known:
        fix = f"Use one of {', '.join(sorted(known))}, or add {destination.subset} to the DestinationRule."
    else:
        fix = f"Add a DestinationRule for {destination.host} with the subset {destination.subset}."
    yield Problem(
        severity=Severity.ERROR,
        code=ProblemCode.UNKNOWN_SUBSET,
        message=f"no DestinationRule defines the subset {destination.subset} of {destination.host}",
        fix=fix,
        field=f"{field}.subset",
    )


def _check_host(host: str, field: str, value: VirtualService, inventory: Inventory) -> Iterator[Problem]:
    mesh = inventory.mesh
    for other in mesh.virtual_services.get(host, ()):
        if other.ref == value.ref:
            break
        if _seen_by_the_same(other, value, inventory):
            yield Problem(
                severity=Severity.ERROR,
                code=ProblemCode.CONFLICTING_HOSTS,
                message=f"{other.ref} routes {host} already and is older, so it is in force and this object is not",
                fix=f"Move the routes into {other.ref}, or remove one of the two.",
                field=field,
            )
            return
    service = mesh.services.get(host)
    if service is None:
        meant = inventory.suggest_host(host, value.ref.namespace)
        if not host.startswith("*") and (host_namespace(host) or meant.startswith(f"{host}.")):
            yield unknown_host(host, value.ref.namespace, field, inventory, Severity.WARNING)
        return
    owner = value.ref.namespace
    if owner not in (service.ref.namespace, mesh.settings.root_namespace) and value.export_to not in ((".",), (owner,)):
        yield Problem(
            severity=Severity.WARNING,
            code=ProblemCode.FOREIGN_HOST,
            message=f"{host} belongs to namespace {service.ref.namespace}; "
            f"these routes hold for callers in {owner} only",
            fix=f"Move the object into {service.ref.namespace}, or say so with exportTo: ['.'].",
            field=field,
        )
    may_be_http = any(port.protocol.is_http or port.protocol is Protocol.DETECT for port in service.ports)
    if value.http and service.ports and not may_be_http and service.resolution is not Resolution.EXTERNAL_NAME:
        yield Problem(
            severity=Severity.WARNING,
            code=ProblemCode.NO_HTTP_PORT,
            message=f"no port of {service.ref} speaks HTTP, so these routes have no effect on it",
            fix=f"Name the port of {service.ref} http, or http-..., or give it appProtocol: http.",
            field=field,
        )


def _seen_by_the_same(older: VirtualService, newer: VirtualService, inventory: Inventory) -> bool:
    """Whether some caller sees both."""
    first, second = _visible(older, inventory), _visible(newer, inventory)
    return "*" in first or "*" in second or bool(first & second)


def _visible(value: VirtualService, inventory: Inventory) -> frozenset[str]:
    settings, owner = inventory.mesh.settings, value.ref.namespace
    near = {host_namespace(host) for host in value.hosts} | {settings.root_namespace}
    said = {owner if namespace == "." else namespace for namespace in value.export_to or settings.default_export_to}
    if owner in near or not all(host in inventory.mesh.services for host in value.hosts):
        return frozenset(said - {"~"})
    # A namespace routes another's hosts for itself only (model.view).
    return frozenset({owner} if "*" in said or owner in said else ())
