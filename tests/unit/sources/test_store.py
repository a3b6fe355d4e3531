"""The store: last good, one winner, silence, identity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.mesh import Mesh
from model.pods import Pod
from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Severity
from sources.store import Store

WEB = "web.shop.svc.cluster.local"


def service(name: str = "web", port: object = 80) -> str:
    head = f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n"
    return head + f"spec: {{ports: [{{port: {port}}}]}}\n"


def config_map(name: str, value: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: shop}}\ndata: {{a: {value}}}\n"


def put(store: Store, **files: str | None) -> bool:
    return store.replace_files(
        {f"{name}.yaml": None if text is None else text.encode() for name, text in files.items()}
    )


def codes(store: Store, least: Severity = Severity.ERROR) -> list[tuple[str, str]]:
    return [(p.code, str(p.position)) for p in store.problems if p.severity is least]


def ports(store: Store) -> dict[str, list[int]]:
    return {host: [port.number for port in found.ports] for host, found in store.mesh.services.items()}


def test_files_come_change_and_go() -> None:
    store = Store()
    calls: list[int] = []
    store.on_change(lambda: calls.append(store.generation))
    assert put(store, a=service())
    assert put(store, a=service(port=81))
    assert ports(store) == {WEB: [81]}
    assert put(store, a=None)
    assert ports(store) == {}
    assert store.files == ()
    assert calls == [1, 2, 3]


def test_what_does_not_differ_is_silent() -> None:
    store = Store()
    put(store, a=service() + "---\n" + config_map("c", "b"), b=service("db"))
    mesh, generation, found = store.mesh, store.generation, store.mesh.services[WEB]
    store.on_change(lambda: (_ for _ in ()).throw(AssertionError("announced")))
    assert not put(store, a="# a comment\n" + service() + "---\n" + config_map("c", "b"))
    assert not put(store, a=config_map("c", "b") + "---\n" + service())
    assert not put(store, b=None, c=service("db"))
    assert not put(store, nothing=None)
    assert (store.generation, store.mesh) == (generation, mesh)
    assert store.mesh.services[WEB] is found


def test_what_did_not_change_keeps_its_identity() -> None:
    store = Store()
    put(store, a=service() + "---\n" + service("db"))
    before = store.mesh
    put(store, a=service() + "---\n" + service("db", 81))
    after = store.mesh
    assert after is not before
    assert after.services[WEB] is before.services[WEB]
    assert after.endpoints is before.endpoints
    assert after.virtual_services is before.virtual_services
    assert after.pods is before.pods


def test_positions_follow_the_file() -> None:
    store = Store()
    put(store, a=service())
    put(store, a="#\n#\n" + service())
    assert store.objects[ObjectRef(kind="Service", namespace="shop", name="web")].position.line == 3


def test_the_last_good_object_stays() -> None:
    store = Store()
    put(store, a=service() + "---\n" + service("db"))
    assert put(store, a=service(port="x") + "---\n" + service("db", 5432))
    assert ports(store) == {"db.shop.svc.cluster.local": [5432], WEB: [80]}
    assert codes(store) == [(ProblemCode.WRONG_TYPE, "a.yaml:4")]
    put(store, a=service(port=82))
    assert ports(store) == {WEB: [82]}
    assert codes(store) == []


def test_an_object_that_never_was_good_is_not_there() -> None:
    store = Store()
    assert not put(store, a=service(port="x"))
    assert ports(store) == {}
    assert codes(store) == [(ProblemCode.WRONG_TYPE, "a.yaml:4")]


def test_a_file_that_is_no_yaml_keeps_all_it_had() -> None:
    store = Store()
    put(store, a=service() + "---\n" + service("db"))
    mesh = store.mesh
    assert not put(store, a=service(port=90) + "---\na: [\n")
    assert store.mesh is mesh
    assert codes(store) == [(ProblemCode.MALFORMED_YAML, "a.yaml:7")]
    put(store, a=None)
    assert ports(store) == {}


def test_an_object_moves_between_files_without_a_gap() -> None:
    store = Store()
    put(store, a=service())
    seen: list[Mesh] = []
    store.on_change(lambda: seen.append(store.mesh))
    assert not put(store, a=None, b=service())
    assert put(store, b=None, c=service(port=81))
    assert [list(mesh.services) for mesh in seen] == [[WEB]]


def test_a_moved_object_that_went_bad_keeps_its_last_good() -> None:
    store = Store()
    put(store, a=service())
    assert not put(store, a=None, b=service(port="x"))
    assert ports(store) == {WEB: [80]}


def test_the_first_file_wins() -> None:
    store = Store()
    put(store, b=service(port=2))
    put(store, a=service(port=1), c=service(port=3))
    assert ports(store) == {WEB: [1]}
    assert codes(store) == [(ProblemCode.DUPLICATE_OBJECT, "b.yaml:1"), (ProblemCode.DUPLICATE_OBJECT, "c.yaml:1")]
    assert all(
        "a.yaml:1" in problem.message for problem in store.problems if problem.code == ProblemCode.DUPLICATE_OBJECT
    )
    put(store, a=None)
    assert ports(store) == {WEB: [2]}
    put(store, c=None)
    assert codes(store) == []


def test_the_first_place_in_a_file_wins() -> None:
    store = Store()
    put(store, a=service(port=1) + "---\n" + service(port=2))
    assert ports(store) == {WEB: [1]}
    assert codes(store) == [(ProblemCode.DUPLICATE_OBJECT, "a.yaml:6")]


def test_what_else_can_be_read() -> None:
    store = Store()
    put(
        store,
        a="apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}\n---\n"
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: shop}\n---\n"
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: shop}\nstringData: {k: v}\n---\n"
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\nspec: {containers: [{name: c}]}\n---\n"
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: shop}\n"
        "spec: {selector: {}, template: {spec: {containers: [{name: c}]}}}\n---\n" + config_map("c", "x"),
    )
    assert codes(store) == []
    assert store.namespaces["", "shop"].labels == {"a": "b"}
    assert list(store.service_accounts) == [("shop", "web")]
    assert store.secrets == {("shop", "s"): {"k": b"v"}}
    assert store.config_maps == {("shop", "c"): {"a": b"x"}}
    assert [str(workload.ref) for workload in store.workloads] == ["Deployment/shop/d", "Pod/shop/p"]
    mesh, workloads = store.mesh, store.workloads
    assert put(store, b=config_map("e", "x"))
    assert (store.mesh, store.workloads) == (mesh, workloads)
    assert store.workloads is workloads


def test_mesh_settings_come_and_go() -> None:
    store = Store()
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    text += "data: {mesh: 'trustDomain: a.b'}"
    put(store, a=text)
    assert store.mesh.settings.trust_domain == "a.b"
    put(store, a=None)
    assert store.mesh.settings.trust_domain == "cluster.local"


def test_a_refused_policy_says_whether_one_is_in_force() -> None:
    store = Store()
    policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\n"
    put(store, a=policy + "spec: {action: AUDIT}")
    assert "no version of the object is in force" in store.problems[0].message
    assert not store.mesh.authorization_policies
    put(store, a=policy + "spec: {rules: []}")
    assert codes(store) == []
    put(store, a=policy + "spec: {action: AUDIT}")
    assert "the object's last good version stays in force" in store.problems[0].message
    assert store.mesh.authorization_policies


@pytest.mark.parametrize("mistake", ["shop ", "Shop", "123x_", "'12'x"])
def test_a_mistake_in_a_namespace_lets_go_of_nothing(mistake: str) -> None:
    store = Store()
    policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\n"
    put(store, a=policy + "spec: {action: DENY, rules: [{}]}")
    before = store.mesh.authorization_policies
    put(store, a=policy.replace("namespace: shop", f'namespace: "{mistake}"') + "spec: {action: DENY, rules: [{}]}")
    assert store.mesh.authorization_policies == before
    assert codes(store)


def test_the_trust_domain_is_the_one_the_mesh_began_with() -> None:
    store = Store()
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    begun = text + "data:\n  mesh: |\n    accessLogFile: /dev/stdout\n    trustDomain: a.b\n"
    put(store, a=begun)
    store.pin_trust_domain()
    assert codes(store) == []
    put(store, a=begun.replace("a.b", "c.d").replace("stdout", "stderr"))
    settings = store.mesh.settings
    assert (settings.trust_domain, settings.access_log_file) == ("a.b", "/dev/stderr")
    (problem,) = store.problems
    assert (problem.code, str(problem.position)) == (ProblemCode.RESTART_NEEDED, "a.yaml:7")
    put(store, a=None)
    (problem,) = store.problems
    assert (problem.code, store.mesh.settings.trust_domain) == (ProblemCode.RESTART_NEEDED, "a.b")
    put(store, a=begun)
    assert codes(store) == []


def pod(name: str, address: str, *, ready: bool = True) -> Pod:
    ref = ObjectRef(kind="Pod", namespace="shop", name=name)
    return Pod(ref=ref, labels={"app": "web"}, addresses=(address,), ready=ready, meshed=True)


def test_observations() -> None:
    store = Store()
    put(store, a=service().replace("spec: {", "spec: {selector: {app: web}, "))
    assert store.observe([pod("b", "10.0.0.2"), pod("a", "10.0.0.1")], {("shop", "web"): ("10.1.0.1",)})
    assert list(store.mesh.pods) == [("shop", "a"), ("shop", "b")]
    assert store.mesh.services[WEB].addresses == ("10.1.0.1",)
    assert [endpoint.address for endpoint in store.mesh.endpoints[WEB]] == ["10.0.0.1", "10.0.0.2"]
    before = store.mesh
    assert not store.observe([pod("a", "10.0.0.1"), pod("b", "10.0.0.2")], {("shop", "web"): ("10.1.0.1",)})
    assert store.mesh is before
    assert store.observe([pod("a", "10.0.0.1", ready=False), pod("b", "10.0.0.2")], {("shop", "web"): ("10.1.0.1",)})
    assert store.mesh.pods["shop", "b"] is before.pods["shop", "b"]
    assert [endpoint.ready for endpoint in store.mesh.endpoints[WEB]] == [False, True]
    assert store.mesh.services is before.services
    store.observe([], {})
    assert (dict(store.mesh.pods), store.mesh.endpoints[WEB], store.mesh.services[WEB].addresses) == ({}, (), ())


def test_a_callback_can_be_taken_back() -> None:
    store = Store()
    calls: list[int] = []
    stop = store.on_change(lambda: calls.append(1))
    put(store, a=service())
    stop()
    put(store, a=None)
    assert calls == [1]


CONTENTS = st.sampled_from(
    [None, "", service(), service(port=81), service("db"), service() + "---\n" + service("db", 5), config_map("c", "x")]
)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), CONTENTS, min_size=1), max_size=6))
def test_any_history_of_good_files_ends_where_a_fresh_store_begins(history: list[dict[str, str | None]]) -> None:
    store, final = Store(), dict[str, str | None]()
    for step in history:
        put(store, **step)
        final |= step
    fresh = Store()
    put(fresh, **final)
    assert ports(store) == ports(fresh)
    assert store.config_maps == fresh.config_maps
    assert store.problems == fresh.problems
    assert list(store.mesh.hosts_on_port.items()) == list(fresh.mesh.hosts_on_port.items())


POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/secret]}}]}]}
"""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("name: deny", "name: 1e3"),
        ("name: deny, ", ""),
        ("namespace: shop", "namespace: 12"),
        ("namespace: shop", "namespace: n"),
        ("AuthorizationPolicy", "AuthorizationPolicies"),
        ("kind:", "kin:"),
    ],
)
def test_an_object_that_lost_its_name_stays_in_force_until_it_is_mended(right: str, wrong: str) -> None:
    store = Store()
    store.replace_file("p.yaml", POLICY.encode())
    before = store.mesh.authorization_policies["shop"]
    store.replace_file("p.yaml", POLICY.replace(right, wrong, 1).encode())
    assert store.mesh.authorization_policies["shop"] == before
    assert any(problem.severity is Severity.ERROR for problem in store.problems)
    store.replace_file("p.yaml", b"")
    assert "shop" not in store.mesh.authorization_policies


RULE_OF_NOBODY = """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s, namespace: shop}
spec: {host: nobody}
"""


def test_a_search_for_problems_is_of_the_time_when_it_was_begun() -> None:
    store = Store()
    store.replace_file("a.yaml", (RULE_OF_NOBODY % "a").encode())
    search = store.problem_search()
    assert search is not None
    store.replace_file("b.yaml", (RULE_OF_NOBODY % "b").encode())
    found = search.run()
    store.keep_problems(search, found)
    assert {problem.position.file for problem in found if problem.position} == {"a.yaml"}
    assert {problem.position.file for problem in store.problems if problem.position} == {"a.yaml", "b.yaml"}
    assert store.problem_search() is None


def test_what_a_search_found_is_kept() -> None:
    store = Store()
    store.replace_file("a.yaml", (RULE_OF_NOBODY % "a").encode())
    search = store.problem_search()
    assert search is not None
    found = search.run()
    store.keep_problems(search, found)
    assert store.problems is found
