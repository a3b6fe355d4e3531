"""Gateways: selectors without pods, certificates that are not there, servers in each other's way; and the
VirtualServices that name them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import timedelta

from model.gateways import BrokenCredential, Gateway, Server, ServerHost, ServerTls
from model.host_patterns import covers
from model.pods import TEMPLATES
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from model.routing import MESH_GATEWAY, VirtualService
from sources.gateway_pods import GatewayPods
from sources.inventory import Inventory
from sources.kinds import Object

EXPIRY_NOTICE = timedelta(days=14)
"""How long before its end a certificate is reported; public authorities renew theirs before that."""


def check_gateway(entry: Object, inventory: Inventory) -> Iterator[Problem]:
    """The problems of one Gateway."""
    gateway = entry.value
    if not isinstance(gateway, Gateway):
        return
    namespaces = sorted({pod.ref.namespace for pod in inventory.gateway_pods.serving(gateway)})
    if not namespaces:
        yield _unused(gateway, inventory.gateway_pods)
    for server in gateway.servers:
        if server.tls is not None:
            for namespace in namespaces:
                yield from _check_credential(server, server.tls, namespace, inventory)
    for index, host, winner in inventory.gateway_pods.losses(gateway):
        yield _lost(index, host, winner)
    for index, host, winner in inventory.gateway_pods.redirected(gateway):
        yield Problem(
            severity=Severity.WARNING,
            code=ProblemCode.CONFLICTING_SERVERS,
            message=f"{winner} sends plain requests for {host} on this port to HTTPS, so this server never gets any",
            fix="Say httpsRedirect in both, or in none.",
            field=f"spec.servers[{index}].hosts",
        )


def check_gateways_of_routes(entry: Object, inventory: Inventory) -> Iterator[Problem]:
    """The problems of one VirtualService with the Gateways that it names."""
    value = entry.value
    if not isinstance(value, VirtualService):
        return
    known = {gateway.name: gateway for gateway in inventory.mesh.gateways}
    named = [known[name] for name in value.gateways if name in known]
    for index, name in enumerate(value.gateways):
        if name != MESH_GATEWAY and name not in known:
            yield _unknown_gateway(name, f"spec.gateways[{index}]", value, sorted(known))
    for place, route in enumerate(value.http):
        for number, match in enumerate(route.matches):
            if match.gateways is not None and set(match.gateways).isdisjoint(value.gateways):
                yield Problem(
                    severity=Severity.WARNING,
                    code=ProblemCode.NEVER_MATCHES,
                    message="the match is for gateways that the VirtualService itself does not name",
                    fix="Add them to gateways of the VirtualService.",
                    field=f"spec.http[{place}].match[{number}].gateways",
                )
    if not named:
        return
    for index, host in enumerate(value.hosts):
        if MESH_GATEWAY in value.gateways and host in inventory.mesh.services:
            continue
        if not any(_admits(gateway, host, value.ref.namespace) for gateway in named):
            yield _not_admitted(host, f"spec.hosts[{index}]", value, named)


def _unused(gateway: Gateway, pods: GatewayPods) -> Problem:
    labels = ", ".join(f"{key}={value}" for key, value in sorted(gateway.selector.items()))
    others = pods.mistaken(gateway)
    if others:
        message = f"the pods with the labels {labels} are no gateways: {others[0]} for one"
        fix = f"Annotate their template with {TEMPLATES}: gateway."
    else:
        message = f"no gateway pod has the labels {labels}" if labels else "there is no gateway pod"
        fix = f"Correct the selector, or add a workload with these labels and the annotation {TEMPLATES}: gateway."
    return Problem(
        severity=Severity.WARNING,
        code=ProblemCode.UNUSED_SELECTOR,
        message=message,
        fix=fix,
        field="spec.selector",
    )


def _check_credential(server: Server, tls: ServerTls, namespace: str, inventory: Inventory) -> Iterator[Problem]:
    field = f"spec.servers[{server.index}].tls.credentialName"
    name = f"Secret/{namespace}/{tls.credential}"
    credential = inventory.mesh.credentials.get((namespace, tls.credential))
    if credential is None:
        yield Problem(
            severity=Severity.ERROR,
            code=ProblemCode.UNKNOWN_CREDENTIAL,
            message=f"there is no {name}, where the gateway's pods are; TLS for this server's hosts is refused",
            fix=f"Add the Secret to {namespace}. If it is there: Heddle reads Secrets only of namespaces that the"
            f" chart's value gatewaySecretNamespaces names, so name {namespace} there.",
            field=field,
        )
    elif isinstance(credential, BrokenCredential):
        yield Problem(
            severity=Severity.ERROR,
            code=ProblemCode.INVALID_CREDENTIAL,
            message=f"{name} cannot be used: {credential.reason}; TLS for this server's hosts is refused",
            fix=f"kubectl create secret tls {tls.credential} -n {namespace} --cert=... --key=... makes a good one.",
            field=field,
        )
    elif inventory.now is not None and credential.not_after < inventory.now + EXPIRY_NOTICE:
        ended = "ended" if credential.not_after <= inventory.now else "ends"
        yield Problem(
            severity=Severity.WARNING,
            code=ProblemCode.EXPIRING_CREDENTIAL,
            message=f"the certificate in {name} {ended} at {credential.not_after.isoformat(timespec='seconds')}",
            fix="Renew it; the gateway takes the new one without closing a connection.",
            field=field,
        )


def _lost(index: int, host: str, winner: str) -> Problem:
    if not host:
        return Problem(
            severity=Severity.ERROR,
            code=ProblemCode.CONFLICTING_PROTOCOLS,
            message=f"{winner} has this port for another protocol, and is older; this server is not served",
            fix="Use another port.",
            field=f"spec.servers[{index}].port.protocol",
        )
    return Problem(
        severity=Severity.ERROR,
        code=ProblemCode.CONFLICTING_SERVERS,
        message=f"{winner} has the host {host} on this port already, and is older; it is served with that one's TLS",
        fix=f"Remove {host} from one of the two.",
        field=f"spec.servers[{index}].hosts",
    )


def _unknown_gateway(name: str, field: str, value: VirtualService, known: list[str]) -> Problem:
    bare = name.rpartition("/")[2]
    meant = [other for other in known if other.rpartition("/")[2] == bare] or difflib.get_close_matches(name, known, 1)
    rest = len(value.gateways) > 1
    return Problem(
        severity=Severity.ERROR,
        code=ProblemCode.UNKNOWN_GATEWAY,
        message=f"there is no Gateway/{name}" + ("" if rest else ", so the object has no effect"),
        fix=f"Did you mean {meant[0]}?" if meant else f"Add the Gateway {name}, or correct the name.",
        field=field,
    )


def _not_admitted(host: str, field: str, value: VirtualService, named: list[Gateway]) -> Problem:
    listed = sorted({entry.host for gateway in named for entry in _hosts(gateway)})
    names = ", ".join(gateway.name for gateway in named)
    if any(_covers(gateway, host) for gateway in named):
        message = f"the servers of {names} let other namespaces than {value.ref.namespace} use the host {host}"
        fix = f"Write {value.ref.namespace}/{host} in a server, or move the object."
    else:
        message = f"no server of {names} has the host {host}, so nobody gets there"
        fix = f"Use one of {', '.join(listed[:10])}, or add {host} to a server." if listed else "Add a server for it."
    return Problem(
        severity=Severity.WARNING if MESH_GATEWAY in value.gateways else Severity.ERROR,
        code=ProblemCode.HOST_NOT_ADMITTED,
        message=message,
        fix=fix,
        field=field,
    )


def _admits(gateway: Gateway, host: str, owner: str) -> bool:
    """Whether a server lets it in. One that is not served counts: that nobody gets there is said of the server."""
    return any(
        entry.admits(owner) and (covers(entry.host, host) or covers(host, entry.host)) for entry in _hosts(gateway)
    )


def _covers(gateway: Gateway, host: str) -> bool:
    return any(covers(entry.host, host) for entry in _hosts(gateway))


def _hosts(gateway: Gateway) -> Iterator[ServerHost]:
    for server in gateway.servers:
        yield from server.hosts
    yield from gateway.unserved
