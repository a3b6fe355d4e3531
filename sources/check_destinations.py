"""DestinationRules: hosts and ports that are not there, subsets without pods."""

from __future__ import annotations

from collections.abc import Iterator

from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from model.services import Protocol, Resolution, Service
from model.settings import OutboundTraffic
from model.traffic import ConsistentHash, DestinationRule, HashSourceAddress, LoadBalancer, TrafficPolicy, policy_for
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
    yield from _check_reach(rule, service, inventory)
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
    places = [(rule.policy, "spec.trafficPolicy")]
    places += [(subset.policy, f"spec.subsets[{i}].trafficPolicy") for i, subset in enumerate(rule.subsets)]
    for policy, path in places:
        for port in service.ports:
            if port.protocol not in (Protocol.TCP, Protocol.TLS):
                continue
            balancer, place = _balancer(policy, path, port.number, entry)
            if isinstance(balancer, ConsistentHash) and not isinstance(balancer.key, HashSourceAddress):
                spoken = port.protocol.upper()
                yield Problem(
                    severity=Severity.WARNING,
                    code=ProblemCode.HTTP_HASH_ON_TCP,
                    message=f"port {port.number} of {service.ref} speaks {spoken}, which has none of this: "
                    "any pod is chosen",
                    fix="Use useSourceIp, or set another load balancer for the port in portLevelSettings.",
                    field=f"{place}.loadBalancer.consistentHash",
                )


def _check_reach(rule: DestinationRule, service: Service, inventory: Inventory) -> Iterator[Problem]:
    """Bytes are told apart by the address they go to, which an external name does not have."""
    allows_any = inventory.mesh.settings.outbound_traffic is OutboundTraffic.ALLOW_ANY
    if service.resolution is not Resolution.EXTERNAL_NAME or not allows_any:
        return
    for port in service.ports:
        if port.protocol in (Protocol.TCP, Protocol.TLS) and policy_for(rule, "", port.number) != TrafficPolicy():
            yield Problem(
                severity=Severity.WARNING,
                code=ProblemCode.UNKNOWN_DESTINATION,
                message=f"connections to port {port.number} of {service.ref} pass as they are: it is an external name "
                "without an address, and outboundTrafficPolicy is ALLOW_ANY, so that no traffic policy applies",
                fix="Set outboundTrafficPolicy.mode to REGISTRY_ONLY, or remove the rule.",
                field="spec.host",
            )


def _balancer(policy: TrafficPolicy, path: str, number: int, entry: Object) -> tuple[LoadBalancer | None, str]:
    """What one level says for a port, and the path of the settings that say it: the port's own take its place."""
    own = policy.ports.get(number)
    if own is None:
        return policy.load_balancer, path
    return own.load_balancer, _settings_of(number, path, entry) or path


def _place_of(number: int, path: str, entry: Object) -> str:
    """The path of that port's number."""
    settings = _settings_of(number, path, entry)
    return f"{settings}.port.number" if settings else path


def _settings_of(number: int, path: str, entry: Object) -> str:
    """The path of that port's settings, '' if not found; the value keeps them by number, the manifest in a list."""
    listed = entry.find(f"{path}.portLevelSettings")
    for index in range(len(listed.value) if listed is not None and isinstance(listed.value, tuple) else 0):
        settings = f"{path}.portLevelSettings[{index}]"
        node = entry.find(f"{settings}.port.number")
        if node is not None and node.value == number:
            return settings
    return ""
