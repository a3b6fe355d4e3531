"""How VirtualServices, DestinationRules and policies are ordered and merged."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from model.policies import AuthorizationPolicy, PeerAuthentication
from model.problem_codes import ProblemCode
from model.problems import ObjectRef
from model.routing import VirtualService
from model.traffic import DestinationRule, SimpleBalancer, Subset, TrafficPolicy
from sources.assemble import Assembly, Inputs, assemble
from sources.rules import clash_problem
from sources.store import Store

OLD, NEW = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)


def ref(kind: str, name: str, namespace: str = "shop") -> ObjectRef:
    return ObjectRef(kind=kind, namespace=namespace, name=name)


def route(name: str, created: datetime | None, *hosts: str, gateways: tuple[str, ...] = ("mesh",)) -> VirtualService:
    return VirtualService(ref=ref("VirtualService", name), hosts=hosts, gateways=gateways, created=created)


def rule(name: str, created: datetime | None, namespace: str = "shop", **other: object) -> DestinationRule:
    return DestinationRule(ref=ref("DestinationRule", name, namespace), host="a", created=created, **other)  # type: ignore[arg-type]


def assembled(kind: str, values: Iterable[object]) -> Assembly:
    named = {(value.ref.namespace, value.ref.name): value for value in values}  # type: ignore[attr-defined]
    return assemble(Inputs(**{kind: named}), Assembly())  # type: ignore[arg-type]


def test_the_oldest_virtual_service_comes_first() -> None:
    values = [route("c", None, "b", "a"), route("b", None, "a"), route("z", OLD, "a"), route("y", NEW, "a", "a")]
    found = assembled("virtual_services", values).mesh.virtual_services
    assert list(found) == ["a", "b"]
    assert [value.ref.name for value in found["a"]] == ["z", "y", "b", "c"]


def test_only_the_meshs_own_virtual_services_are_there() -> None:
    values = [route("a", None, "a", gateways=("edge",)), route("b", None, "a", gateways=("edge", "mesh"))]
    found = assembled("virtual_services", values).mesh.virtual_services
    assert [value.ref.name for value in found["a"]] == ["b"]


def test_destination_rules_of_one_namespace_are_merged() -> None:
    random, least = (TrafficPolicy(load_balancer=b) for b in (SimpleBalancer.RANDOM, SimpleBalancer.LEAST_REQUEST))
    first = rule("b", OLD, subsets=(Subset(name="v1"),))
    second = rule("a", NEW, policy=random, subsets=(Subset(name="v2"), Subset(name="v1", labels={"x": "y"})))
    third = rule("c", None, policy=least, subsets=(Subset(name="v3"),))
    made = assembled("destination_rules", [third, second, first])
    clashes = tuple(made.clashes)
    (merged,) = made.mesh.destination_rules["a"]
    assert merged.ref == first.ref
    assert merged.policy == random
    assert [(subset.name, subset.labels) for subset in merged.subsets] == [("v1", {}), ("v2", {}), ("v3", {})]
    problem = clash_problem(clashes[0])
    assert len(clashes) == 1
    assert (problem.code, problem.object) == (ProblemCode.DUPLICATE_SUBSET, second.ref)
    assert problem.field == "spec.subsets[1].name"


def test_rules_of_other_namespaces_or_for_others_stay_apart() -> None:
    values = [rule("a", OLD), rule("b", OLD, export_to=(".",)), rule("c", OLD, "db")]
    made = assembled("destination_rules", values)
    assert [value.ref.name for value in made.mesh.destination_rules["a"]] == ["c", "a", "b"]
    assert tuple(made.clashes) == ()


def test_a_single_rule_is_itself() -> None:
    value = rule("a", OLD)
    assert assembled("destination_rules", [value]).mesh.destination_rules["a"][0] is value


def test_policies_by_namespace() -> None:
    peers = [
        PeerAuthentication(ref=ref("PeerAuthentication", "b"), created=NEW),
        PeerAuthentication(ref=ref("PeerAuthentication", "a"), created=None),
        PeerAuthentication(ref=ref("PeerAuthentication", "c"), created=OLD),
    ]
    found_peers = assembled("peer_authentications", peers).mesh.peer_authentications
    assert [value.ref.name for value in found_peers["shop"]] == ["c", "b", "a"]
    policies = [
        AuthorizationPolicy(ref=ref("AuthorizationPolicy", "b"), created=OLD),
        AuthorizationPolicy(ref=ref("AuthorizationPolicy", "a"), created=NEW),
        AuthorizationPolicy(ref=ref("AuthorizationPolicy", "a", "db")),
    ]
    found = assembled("authorization_policies", policies).mesh.authorization_policies
    assert list(found) == ["db", "shop"]
    assert [value.ref.name for value in found["shop"]] == ["a", "b"]


RULE = """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s, namespace: shop}
spec:
  host: web
  subsets:
  - name: v1
    labels: {version: v1}
"""


def test_a_subset_defined_twice_has_its_place() -> None:
    store = Store()
    store.replace_file("a.yaml", (RULE % "a" + "---\n" + RULE % "b").encode())
    found = [problem for problem in store.problems if problem.code == ProblemCode.DUPLICATE_SUBSET]
    assert [(str(problem.position), str(problem.object)) for problem in found] == [
        ("a.yaml:16", "DestinationRule/shop/b")
    ]
    store.replace_file("a.yaml", (RULE % "a").encode())
    assert not [problem for problem in store.problems if problem.code == ProblemCode.DUPLICATE_SUBSET]
