"""DestinationRules: hosts and ports that are not there, subsets without pods."""

from __future__ import annotations

from collections.abc import Iterator

from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from model.services import Protocol, Service
from model.traffic import ConsistentHash, DestinationRule, HashSourceAddress, TrafficPolicy, policy_for
from sources.check_routes import unknown_host
from sources.inventory import Inventory
from sources.kinds import Object


def check_destination_rule(entry: Object, inventory: Inventory) -> Iterator[Problem]:
    """The problems of one DestinationRule."""
    rule = entry.value
    if not isinstance(rule, DestinationRule) or rule.host.startswith("*"):
        return
    service = inventory.mesh.services.get(rule.host)
    if service is None:
        yield unknown_host(rule.host, rule.ref.namespace, "spec.host", inventory, Severity.WARNING)
        return
    yield from _check_ports(rule.policy, "spec.trafficPolicy", service, entry)
    yield from _check_hashes(rule, service, entry)
    backing = inventory.pods(service.ref.namespace, service.selector) if service.selector else ()
    for index, subset in enumerate(rule.subsets):
        yield from _check_ports(subset.policy, f"spec.subsets[{index}].trafficPolicy", service, entry)
        wanted = subset.labels.items()
        if backing and not any(wanted <= pod.labels.items() for pod in backing):
            labels = ", ".join(f"{key}={value}" for key, value in wanted)
            yield Problem(
                severity=Severity.WARNING,
                code=ProblemCode.EMPTY_SUBSET,
                message=f"no pod of {service.ref} has the labels {labels} of the subset {subset.name}",
                fix=f"Correct the labels, or label the pods that are to be {subset.name}.",
                field=f"spec.subsets[{index}].labels",
            )


def _check_ports(policy: TrafficPolicy, path: str, service: Service, entry: Object) -> Iterator[Problem]:
    known = {port.number for port in service.ports}
    for number in policy.ports:
        if number not in known:
            yield Problem(
                severity=Severity.WARNING,
                code=ProblemCode.UNKNOWN_PORT,
                message=f"{service.ref} has no port {number}; portLevelSettings are by Service port",
                fix=f"Use one of its ports: {', '.join(map(str, sorted(known)))}.",
                field=_place_of(number, path, entry),
            )


def _check_hashes(rule: DestinationRule, service: Service, entry: Object) -> Iterator[Problem]:
    """Of a connection only its source is known, so that only `useSourceIp` keeps it on one endpoint."""
    places = [
        ("", "spec.trafficPolicy"),
        *((s.name, f"spec.subsets[{i}].trafficPolicy") for i, s in enumerate(rule.subsets)),
    ]
    for subset, path in places:
        for port in (port for port in service.ports if port.protocol is Protocol.TCP):
            balancer = policy_for(rule, subset, port.number).load_balancer
            field = f"{path}.loadBalancer.consistentHash"
            if not isinstance(balancer, ConsistentHash) or isinstance(balancer.key, HashSourceAddress):
                continue
            if entry.find(field) is None:
                continue
            yield Problem(
                severity=Severity.WARNING,
                code=ProblemCode.HTTP_HASH_ON_TCP,
                message=f"port {port.number} of {service.ref} speaks TCP, which has none of this: any pod is chosen",
                fix="Use useSourceIp, or set another load balancer for the port in portLevelSettings.",
                field=field,
            )


def _place_of(number: int, path: str, entry: Object) -> str:
    """The path of that port's settings; the value keeps them by number, the manifest in a list."""
    listed = entry.find(f"{path}.portLevelSettings")
    for index in range(len(listed.value) if listed is not None and isinstance(listed.value, tuple) else 0):
        field = f"{path}.portLevelSettings[{index}].port.number"
        node = entry.find(field)
        if node is not None and node.value == number:
            return field
    return path
