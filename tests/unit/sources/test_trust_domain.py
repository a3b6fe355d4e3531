"""The trust domain is what a mesh started with: a later value is a problem, and everything else stays live."""

from __future__ import annotations

import pytest

from model.pods import Pod
from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Problem, Severity
from model.settings import OutboundTraffic
from sources.store import Store

HOST = "web.shop.svc.cluster.local"
HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
    "spec: {selector: {app: web}, ports: [{port: 80}]}\n"
)


def config(*lines: str) -> str:
    return HEAD + "data:\n  mesh: |\n    # settings\n" + "".join(f"    {line}\n" for line in lines)


def put(store: Store, text: str | None, file: str = "mesh.yaml") -> None:
    store.replace_file(file, None if text is None else text.encode())


def started(text: str | None) -> Store:
    """The store of a control plane that started with this ConfigMap."""
    store = Store()
    if text is not None:
        put(store, text)
    store.pin_trust_domain()
    return store


def restarts(store: Store) -> list[Problem]:
    return [problem for problem in store.problems if problem.code == ProblemCode.RESTART_NEEDED]


def test_what_is_in_force_at_the_start_stays() -> None:
    assert started(config("trustDomain: a.b")).mesh.settings.trust_domain == "a.b"
    assert started(None).mesh.settings.trust_domain == "cluster.local"


def test_a_later_value_is_reported_and_not_in_force() -> None:
    store = started(config("trustDomain: a.b"))
    assert restarts(store) == []
    put(store, config("accessLogFile: /dev/stdout", "trustDomain: c.d"))
    assert store.mesh.settings.trust_domain == "a.b"
    (problem,) = restarts(store)
    assert (problem.severity, problem.field) == (Severity.ERROR, "data.mesh.trustDomain")
    assert str(problem.object) == "ConfigMap/istio-system/istio"
    assert str(problem.position) == "mesh.yaml:8"
    assert "'c.d'" in problem.message
    assert "'a.b' stays in force" in problem.message
    assert "heddle local down" in problem.fix
    assert "heddle serve" in problem.fix
    put(store, config("trustDomain: a.b"))
    assert restarts(store) == []


def test_every_other_setting_stays_live() -> None:
    store = started(config("trustDomain: a.b"))
    put(
        store,
        config(
            "trustDomain: c.d",
            "trustDomainAliases: [old.example]",
            "accessLogFile: /dev/stdout",
            "outboundTrafficPolicy: {mode: REGISTRY_ONLY}",
        ),
    )
    settings = store.mesh.settings
    assert settings.trust_domain == "a.b"
    assert settings.trust_domain_aliases == ("old.example",)
    assert settings.access_log_file == "/dev/stdout"
    assert settings.outbound_traffic is OutboundTraffic.REGISTRY_ONLY


def test_identities_of_endpoints_stay_as_they_are() -> None:
    store = started(config("trustDomain: a.b"))
    put(store, SERVICE, "web.yaml")
    ref = ObjectRef(kind="Pod", namespace="shop", name="web-1")
    store.observe([Pod(ref=ref, labels={"app": "web"}, addresses=("10.0.0.1",), ready=True, meshed=True)], {})
    before = store.mesh
    put(store, config("trustDomain: c.d"))
    assert store.mesh is before
    assert [identity.trust_domain for identity in store.mesh.identities[HOST]] == ["a.b"]


def test_a_config_map_that_goes_takes_no_trust_domain_with_it() -> None:
    store = started(config("trustDomain: a.b", "accessLogFile: /dev/stdout"))
    put(store, None)
    assert store.mesh.settings.trust_domain == "a.b"
    assert store.mesh.settings.access_log_file == ""
    (problem,) = restarts(store)
    assert str(problem.position) == "mesh.yaml"
    assert str(problem.object) == "ConfigMap/istio-system/istio"
    assert "'cluster.local'" in problem.message
    assert "'a.b' stays in force" in problem.message
    put(store, config("trustDomain: a.b"), "other.yaml")
    assert restarts(store) == []


def test_a_config_map_that_comes_later_brings_no_trust_domain() -> None:
    store = started(None)
    put(store, config("trustDomain: cluster.local"))
    assert restarts(store) == []
    put(store, config("trustDomain: c.d"))
    assert store.mesh.settings.trust_domain == "cluster.local"
    (problem,) = restarts(store)
    assert str(problem.position) == "mesh.yaml:7"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (config("accessLogFile: ''"), 5),
        (config(), 5),
        (HEAD + "data: {other: a}\n", 4),
        (HEAD, 1),
        (HEAD + "data: {mesh: 'trustDomain: c.d'}\n", 4),
        (HEAD + "data:\n  mesh: 'trustDomain: c.d'\n", 5),
        ("# two lines\n#\n" + config("trustDomain:"), 9),
    ],
    ids=["no field", "nothing", "no key", "no data", "one line", "no block", "null"],
)
def test_the_line_is_that_of_the_deepest_part_there_is(text: str, line: int) -> None:
    store = started(config("trustDomain: a.b"))
    put(store, text)
    assert store.mesh.settings.trust_domain == "a.b"
    assert [str(problem.position) for problem in restarts(store)] == [f"mesh.yaml:{line}"]


def test_only_the_config_map_in_force_counts() -> None:
    store = started(config("trustDomain: a.b"))
    put(store, config("trustDomain: c.d"), "second.yaml")
    assert restarts(store) == []
    put(store, None)
    assert [str(problem.position) for problem in restarts(store)] == ["second.yaml:7"]


def test_a_config_map_with_an_error_stays_as_it_was() -> None:
    store = started(config("trustDomain: a.b"))
    put(store, config("trustDomain: UPPER"))
    assert store.mesh.settings.trust_domain == "a.b"
    assert restarts(store) == []
    assert [problem.code for problem in store.problems] == [ProblemCode.INVALID_VALUE]


def test_without_a_control_plane_nothing_is_held() -> None:
    store = Store()
    for name in ("a.b", "c.d"):
        put(store, config(f"trustDomain: {name}"))
        assert store.mesh.settings.trust_domain == name
        assert restarts(store) == []


def test_in_a_cluster_its_config_map_and_its_way_to_begin_anew_are_named() -> None:
    store = Store(mesh_config=ObjectRef(kind="ConfigMap", namespace="heddle-system", name="settings"))
    store.pin_trust_domain()
    put(store, config("trustDomain: c.d"))
    (problem,) = restarts(store)
    assert str(problem.object) == "ConfigMap/heddle-system/settings"
    assert "heddle local" not in problem.fix
    assert "delete the Secret heddle-ca" in problem.fix
