"""VirtualServices, DestinationRules and policies, indexed by what they are asked by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MergedRules:
    """What is in force of the DestinationRules for one host, of which they were made: one of each namespace."""

    of: tuple[DestinationRule, ...]
    rules: tuple[DestinationRule, ...]
    clashes: tuple[SubsetClash, ...]


def sidecar_hosts(value: VirtualService) -> Iterable[str]:
    """The hosts that it routes for sidecars."""
    return dict.fromkeys(value.hosts) if MESH_GATEWAY in value.gateways else ()


def gateway_hosts(value: VirtualService) -> Iterable[tuple[str, str]]:
    """What it routes at gateways: (`NAMESPACE/NAME`, host)."""
    gateways = [gateway for gateway in dict.fromkeys(value.gateways) if gateway != MESH_GATEWAY]
    return [(gateway, host) for gateway in gateways for host in dict.fromkeys(value.hosts)]


def hosts_of_gateways(routes: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """The hosts of each Gateway in `routes`, whose order they keep."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for gateway, host in routes:
        found[gateway].append(host)
    return {gateway: tuple(hosts) for gateway, hosts in found.items()}


def merge_destination_rules(
    groups: Mapping[str, tuple[DestinationRule, ...]], last: Mapping[str, MergedRules]
) -> dict[str, MergedRules]:
    """Those of one namespace for one host become one, as Istio merges them. `groups`: by host, each oldest first."""
    return {
        host: known if (known := last.get(host)) is not None and known.of is group else _merge_group(group)
        for host, group in groups.items()
    }


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


def _merge_group(group: tuple[DestinationRule, ...]) -> MergedRules:
    same: dict[tuple[str, tuple[str, ...]], list[DestinationRule]] = {}
    for value in group:
        same.setdefault((value.ref.namespace, value.export_to), []).append(value)
    clashes: list[SubsetClash] = []
    rules = tuple(_merge(rules, clashes) for rules in same.values())
    return MergedRules(of=group, rules=rules, clashes=tuple(clashes))


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
