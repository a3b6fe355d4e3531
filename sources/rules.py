"""VirtualServices, DestinationRules and policies, indexed by what they are asked by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from model.age import age
from model.policies import AuthorizationPolicy, PeerAuthentication
from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Problem, Severity
from model.routing import MESH_GATEWAY, VirtualService
from model.traffic import DestinationRule, Subset, TrafficPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetClash:
    """A subset of `loser` (its index there) that has the name of one of `winner`."""

    winner: ObjectRef
    loser: ObjectRef
    index: int
    name: str


def index_virtual_services(values: Iterable[VirtualService]) -> dict[str, tuple[VirtualService, ...]]:
    """Those for sidecars, by host as written, the oldest first."""
    found: defaultdict[str, list[VirtualService]] = defaultdict(list)
    for value in sorted(values, key=age):
        if MESH_GATEWAY in value.gateways:
            for host in dict.fromkeys(value.hosts):
                found[host].append(value)
    return {host: tuple(found[host]) for host in sorted(found)}


def index_gateway_routes(
    values: Iterable[VirtualService],
) -> tuple[dict[str, tuple[str, ...]], dict[tuple[str, str], tuple[VirtualService, ...]]]:
    """The hosts that are routed at each Gateway, sorted; and the VirtualServices by Gateway and host, oldest first."""
    found: defaultdict[tuple[str, str], list[VirtualService]] = defaultdict(list)
    for value in sorted(values, key=age):
        for gateway in dict.fromkeys(value.gateways):
            if gateway != MESH_GATEWAY:
                for host in dict.fromkeys(value.hosts):
                    found[gateway, host].append(value)
    hosts: defaultdict[str, list[str]] = defaultdict(list)
    for gateway, host in sorted(found):
        hosts[gateway].append(host)
    routes = {key: tuple(found[key]) for key in sorted(found)}
    return {gateway: tuple(listed) for gateway, listed in hosts.items()}, routes


def index_destination_rules(
    values: Iterable[DestinationRule],
) -> tuple[dict[str, tuple[DestinationRule, ...]], tuple[SubsetClash, ...]]:
    """By host, the oldest first; several of one namespace for one host become one, as Istio merges them."""
    groups: dict[str, dict[tuple[str, tuple[str, ...]], list[DestinationRule]]] = {}
    for value in sorted(values, key=age):
        same = groups.setdefault(value.host, {})
        same.setdefault((value.ref.namespace, value.export_to), []).append(value)
    clashes: list[SubsetClash] = []
    found = {host: tuple(_merge(rules, clashes) for rules in groups[host].values()) for host in sorted(groups)}
    return found, tuple(clashes)


def index_peer_authentications(values: Iterable[PeerAuthentication]) -> dict[str, tuple[PeerAuthentication, ...]]:
    """By namespace, the oldest first."""
    found: defaultdict[str, list[PeerAuthentication]] = defaultdict(list)
    for value in sorted(values, key=age):
        found[value.ref.namespace].append(value)
    return {namespace: tuple(found[namespace]) for namespace in sorted(found)}


def index_authorization_policies(values: Iterable[AuthorizationPolicy]) -> dict[str, tuple[AuthorizationPolicy, ...]]:
    """By namespace, then by name."""
    found: defaultdict[str, list[AuthorizationPolicy]] = defaultdict(list)
    for value in sorted(values, key=lambda value: value.ref.name):
        found[value.ref.namespace].append(value)
    return {namespace: tuple(found[namespace]) for namespace in sorted(found)}


def clash_problem(clash: SubsetClash) -> Problem:
    """What to tell the user, without a place."""
    return Problem(
        severity=Severity.WARNING,
        code=ProblemCode.DUPLICATE_SUBSET,
        message=f"the subset {clash.name!r} is defined by {clash.winner} already, which is older and in force",
        fix="Remove one of the two, or give it another name.",
        object=clash.loser,
        field=f"spec.subsets[{clash.index}].name",
    )


def _merge(rules: list[DestinationRule], clashes: list[SubsetClash]) -> DestinationRule:
    first = rules[0]
    if len(rules) == 1:
        return first
    subsets: dict[str, tuple[Subset, ObjectRef]] = {subset.name: (subset, first.ref) for subset in first.subsets}
    policy = first.policy
    for rule in rules[1:]:
        if policy == TrafficPolicy():
            policy = rule.policy
        for index, subset in enumerate(rule.subsets):
            known = subsets.setdefault(subset.name, (subset, rule.ref))
            if known[1] != rule.ref:
                clashes.append(SubsetClash(winner=known[1], loser=rule.ref, index=index, name=subset.name))
    return replace(first, policy=policy, subsets=tuple(subset for subset, _ in subsets.values()))
