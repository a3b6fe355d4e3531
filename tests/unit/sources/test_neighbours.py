"""One object beside those in force: what is said of it is what would be said once it is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from model.problems import Problem
from model.services import Service
from sources.inventory import Inventory
from sources.kinds import Object
from sources.manifests import parse_documents
from sources.neighbours import find_beside
from sources.store import Store

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80, name: http}], selector: {app: web}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web, version: v1}}
spec: {containers: [{name: app, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: edge, namespace: edge, labels: {istio: edge}, annotations: {inject.istio.io/templates: gateway}}
spec: {containers: [{name: istio-proxy, image: auto}]}
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: NAME, namespace: shop, creationTimestamp: "2026-01-0AGET00:00:00Z"}
spec: {host: web, subsets: [{name: SUBSET, labels: {version: SUBSET}}]}
"""
ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME, namespace: shop, creationTimestamp: "2026-01-0AGET00:00:00Z"}
spec: {hosts: [HOST], http: [{route: [{destination: {host: HOST, subset: SUBSET}}]}]}
"""


def text(template: str, name: str = "web", age: int = 5, host: str = "web", subset: str = "v1") -> str:
    found = template.replace("NAME", name).replace("AGE", str(age)).replace("HOST", host)
    return found.replace("SUBSET", subset)


def store_of(*texts: str) -> Store:
    store = Store()
    store.replace_files({f"{number}.yaml": each.encode() for number, each in enumerate(texts)})
    return store


def parse(manifest: str) -> Object:
    (found,) = parse_documents("new.yaml", manifest.encode()).objects
    return found


def beside(store: Store, manifest: str, inventory: Inventory | None = None) -> list[Problem]:
    known = inventory or Inventory(store.mesh, tuple(store.objects.values()))
    return list(find_beside(parse(manifest), store.assembly, known))


def codes(found: list[Problem]) -> list[tuple[str, str]]:
    return [(problem.code, problem.field) for problem in found]


def test_a_subset_that_nobody_defines_and_a_host_that_nobody_has() -> None:
    store = store_of(SERVICES)
    place = "spec.http[0].route[0].destination"
    assert codes(beside(store, text(ROUTE))) == [("UnknownSubset", f"{place}.subset")]
    (unknown, *_) = beside(store, text(ROUTE, host="wbe"))
    assert (unknown.code, unknown.field) == ("UnknownHost", f"{place}.host")
    assert "Did you mean web.shop.svc.cluster.local?" in unknown.fix
    with_rule = store_of(SERVICES, text(RULE))
    assert beside(with_rule, text(ROUTE)) == []


def test_nothing_comes_into_force_by_being_looked_at() -> None:
    store = store_of(SERVICES, text(RULE))
    mesh, problems = store.mesh, store.problems
    beside(store, text(ROUTE))
    assert (store.mesh, store.problems) == (mesh, problems)
    assert store.mesh.virtual_services == {}


def test_who_is_older_decides_whatever_it_was_before() -> None:
    """The object takes its own place: by its age, and with the hosts that it has now."""
    other = text(ROUTE, "other", age=5)
    for before in ([], [text(ROUTE, "web", age=1, host="elsewhere")], [text(ROUTE, "web", age=9)]):
        store = store_of(SERVICES, text(RULE), other, *before)
        assert beside(store, text(ROUTE, "web", age=1)) == []
        assert codes(beside(store, text(ROUTE, "web", age=9))) == [("ConflictingHosts", "spec.hosts[0]")]


def test_a_subset_that_another_rule_defines_already() -> None:
    store = store_of(SERVICES, text(RULE, "first", age=1))
    assert codes(beside(store, text(RULE, "second", age=2))) == [("DuplicateSubset", "spec.subsets[0].name")]
    assert beside(store, text(RULE, "first", age=1)) == []


@pytest.mark.parametrize("kind", ["PeerAuthentication", "AuthorizationPolicy"])
def test_a_selector_without_pods(kind: str) -> None:
    policy = f"""
apiVersion: security.istio.io/v1
kind: {kind}
metadata: {{name: p, namespace: shop}}
spec: {{selector: {{matchLabels: {{app: LABEL}}}}}}
"""
    store = store_of(SERVICES)
    assert codes(beside(store, policy.replace("LABEL", "wbe"))) == [("UnusedSelector", "spec.selector.matchLabels")]
    assert beside(store, policy.replace("LABEL", "web")) == []


class Asked(Inventory):
    """Counts how often the services of a namespace were listed."""

    listed = 0

    def services_of(self, namespace: str) -> Sequence[Service]:
        type(self).listed += 1
        return super().services_of(namespace)


def test_a_policy_for_many_pods_looks_at_each_service_once() -> None:
    pods = "".join(
        f"---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}, namespace: shop, labels: {{app: web}}}}\n"
        "spec: {containers: [{name: app, image: i}]}\n"
        for number in range(50)
    )
    policy = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {rules: [{to: [{operation: {paths: [/a]}}]}]}
"""
    store = store_of(SERVICES.replace("name: http", "name: tcp"), pods)
    Asked.listed = 0
    found = beside(store, policy, Asked(store.mesh, tuple(store.objects.values())))
    assert [problem.code for problem in found] == ["HttpRuleOnTcp"]
    assert Asked.listed == 1


def test_servers_in_each_others_way() -> None:
    gateway = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: NAME, namespace: edge, creationTimestamp: "2026-01-0AGET00:00:00Z"}
spec:
  selector: {istio: edge}
  servers:
    - port: {number: 443, name: tls, protocol: HTTPS}
      hosts: [a.example]
      tls: {mode: SIMPLE, credentialName: c}
"""
    store = store_of(SERVICES, text(gateway, "first", age=1))
    found = beside(store, text(gateway, "second", age=2))
    assert any("first" in problem.message for problem in found), found
    assert not any("second" in problem.message for problem in beside(store, text(gateway, "first", age=1)))


def test_what_came_since_the_inventory_was_taken_counts() -> None:
    store = store_of(SERVICES)
    inventory = Inventory(store.mesh, tuple(store.objects.values()))
    store.replace_file("more.yaml", text(RULE).encode())
    assert beside(store, text(ROUTE), inventory) == []


def test_it_agrees_with_what_is_found_once_it_is_in_force() -> None:
    texts = (SERVICES, text(RULE), text(ROUTE, "other", age=2), text(RULE, "late", age=9))
    for new in (text(ROUTE, subset="v2"), text(ROUTE, age=1), text(RULE, "later", age=9), text(ROUTE, host="nobody")):
        before, after = store_of(*texts), store_of(*texts, new)
        ref = parse(new).ref
        expected = sorted((each.code, each.message) for each in after.problems if each.object == ref)
        assert sorted((each.code, each.message) for each in beside(before, new)) == expected
