"""A pod and what becomes of it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from injector.capture import build_capture
from injector.decide import decide
from injector.inject_pod import inject_pod
from injector.pod_values import MalformedPod, check_shape
from injector.record import original_pod
from injector.settings import InjectionSettings
from model.problems import Severity
from tests.injector.kubelet import command_line, container_of
from tests.unit.injector.pods import pod

SETTINGS = InjectionSettings()
HTTP = {"httpGet": {"path": "/healthy?full=1", "port": "web"}, "periodSeconds": 4}
TCP = {"tcpSocket": {"port": 9000}}
GRPC = {"grpc": {"port": 9001, "service": "shop.Users"}}
EXEC = {"exec": {"command": ["true"]}}
PORTS = [{"containerPort": 8080, "name": "web"}]


def injected(before: dict[str, Any], settings: InjectionSettings = SETTINGS) -> dict[str, Any]:
    after = inject_pod(before, settings).pod
    assert after is not None
    return after


def bootstrap(after: dict[str, Any]) -> dict[str, Any]:
    argv = command_line(container_of(after, "istio-proxy"))
    return dict(json.loads(argv[argv.index("--config-yaml") + 1]))


def app(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "app", "image": "web:1", "ports": PORTS, **fields}]


def test_the_sidecar_is_ready_before_the_application_starts_and_ends_after_it() -> None:
    after = injected(pod(initContainers=[{"name": "migrate"}]))
    names = [container["name"] for container in after["spec"]["initContainers"]]
    assert names == ["istio-init", "istio-proxy", "migrate"]
    sidecar = container_of(after, "istio-proxy")
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["httpGet"] == {"path": "/healthz/ready", "port": 15021, "scheme": "HTTP"}


def test_an_application_that_does_not_want_to_wait_does_not() -> None:
    after = injected(pod(annotations={"proxy.istio.io/config": "holdApplicationUntilProxyStarts: false"}))
    assert "startupProbe" not in container_of(after, "istio-proxy")


def test_the_rules_are_those_of_the_laptop() -> None:
    after = injected(pod(annotations={"traffic.sidecar.istio.io/excludeInboundPorts": "22"}))
    *_, rules4, rules6, _ = command_line(container_of(after, "istio-init"))
    assert "-A HEDDLE_INBOUND -p tcp --dport 22 -j RETURN" in rules4
    plain = injected(pod())
    assert command_line(container_of(plain, "istio-init"))[-3:-1] == [
        build_capture(inject_defaults(), 4),
        build_capture(inject_defaults(), 6),
    ]
    assert rules6 != rules4


def inject_defaults() -> Any:
    from injector.capture import CaptureSettings

    return CaptureSettings()


def test_the_token_is_for_the_control_plane_alone() -> None:
    volumes = {volume["name"]: volume for volume in injected(pod())["spec"]["volumes"]}
    token, *_ = volumes["heddle-secrets"]["projected"]["sources"]
    assert token["serviceAccountToken"] == {"audience": "heddle", "expirationSeconds": 3600, "path": "token"}
    mounted = [mount["name"] for one in injected(pod())["spec"]["containers"] for mount in one.get("volumeMounts", ())]
    assert mounted == []


def test_the_sidecar_needs_no_rights_and_no_disk() -> None:
    context = container_of(injected(pod()), "istio-proxy")["securityContext"]
    assert (context["runAsUser"], context["runAsNonRoot"], context["readOnlyRootFilesystem"]) == (1337, True, True)
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["allowPrivilegeEscalation"] is False


def test_probes_are_asked_of_the_sidecar() -> None:
    before = pod(containers=app(readinessProbe=HTTP, livenessProbe=TCP, startupProbe=GRPC))
    container = container_of(injected(before), "app")
    for name, path in (("readinessProbe", "readyz"), ("livenessProbe", "livez"), ("startupProbe", "startupz")):
        assert container[name]["httpGet"] == {"path": f"/app-health/app/{path}", "port": 15020, "scheme": "HTTP"}
    assert container["readinessProbe"]["periodSeconds"] == 4
    assert "tcpSocket" not in container["livenessProbe"]
    clusters = {one["name"]: one for one in bootstrap(injected(before))["staticResources"]["clusters"]}
    assert clusters["app-health|app|livez"]["healthChecks"][0]["interval"] == "5s"
    assert clusters["app-health|app|startupz"]["healthChecks"][0]["grpcHealthCheck"] == {"serviceName": "shop.Users"}


@pytest.mark.parametrize(
    "probe",
    [
        EXEC,
        {"httpGet": {"port": "unknown"}},
        {"httpGet": {"port": 80, "host": "example.com"}},
        {"httpGet": {"port": 80, "path": "/a\nb"}},
        {"httpGet": {"port": 70000}},
        {"tcpSocket": {"port": 80, "host": "127.0.0.1"}},
        {"tcpSocket": {}},
        {"grpc": {}},
        {},
    ],
)
def test_probes_that_stay(probe: dict[str, Any]) -> None:
    after = injected(pod(containers=app(readinessProbe=probe)))
    assert container_of(after, "app")["readinessProbe"] == probe
    assert len(bootstrap(after)["staticResources"]["listeners"]) == 2


def test_probes_stay_if_the_pod_says_so() -> None:
    annotations = {"sidecar.istio.io/rewriteAppHTTPProbers": "false"}
    after = injected(pod(annotations=annotations, containers=app(readinessProbe=HTTP)))
    assert container_of(after, "app")["readinessProbe"] == HTTP


@pytest.mark.parametrize(
    ("path", "asked"),
    [("", "/"), ("ready", "/ready"), ("/a b?c=d e#f", "/a%20b?c=d%20e"), ("/%2F", "/%2F"), ("/ü", "/%C3%BC")],
)
def test_paths_are_asked_as_a_kubelet_would(path: str, asked: str) -> None:
    after = injected(pod(containers=app(readinessProbe={"httpGet": {"path": path, "port": 80}})))
    assert f'"prefixRewrite": "{asked}"' in json.dumps(bootstrap(after))


def test_a_path_cannot_ask_the_kubelet_for_anything() -> None:
    after = injected(pod(containers=app(readinessProbe={"httpGet": {"path": "/$(POD_NAME)$$(X)", "port": 80}})))
    assert '"prefixRewrite": "/$(POD_NAME)$$(X)"' in json.dumps(bootstrap(after))


def test_the_application_goes_on_while_its_callers_learn_that_it_goes() -> None:
    own = {"preStop": {"exec": {"command": ["drain"]}}}
    after = injected(pod(containers=[{"name": "app"}, {"name": "other", "lifecycle": own}]))
    app_container, other = after["spec"]["containers"]
    assert app_container["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert other["lifecycle"] == own
    assert after["spec"]["terminationGracePeriodSeconds"] == 35


def test_a_grace_period_that_is_left_empty_is_the_default() -> None:
    after = injected(pod(terminationGracePeriodSeconds=None))
    assert after["spec"]["terminationGracePeriodSeconds"] == 35
    assert injected(after) == after


@pytest.mark.parametrize(
    "before",
    [
        pod(restartPolicy="Never"),
        pod(restartPolicy="OnFailure"),
        pod(terminationGracePeriodSeconds=0),
        pod(annotations={"proxy.istio.io/config": "terminationDrainDuration: 0s"}),
    ],
)
def test_nothing_waits_where_pods_end_by_themselves_or_at_once(before: dict[str, Any]) -> None:
    after = injected(before)
    assert "lifecycle" not in container_of(after, "app")
    assert after["spec"].get("terminationGracePeriodSeconds") == before["spec"].get("terminationGracePeriodSeconds")


def test_the_workload_is_what_makes_the_pod() -> None:
    before = pod(labels={"pod-template-hash": "5d9f"})
    before["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "users-v1-5d9f", "controller": True}]
    assert {"name": "WORKLOAD_NAME", "value": "users-v1"} in container_of(injected(before), "istio-proxy")["env"]
    # A CronJob's Job is named after it and the time, and would be another workload each time.
    before["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "report-29401234", "controller": True}]
    assert {"name": "WORKLOAD_NAME", "value": "report"} in container_of(injected(before), "istio-proxy")["env"]
    before["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "report-2026", "controller": True}]
    assert {"name": "WORKLOAD_NAME", "value": "report-2026"} in container_of(injected(before), "istio-proxy")["env"]
    del before["metadata"]["ownerReferences"]
    assert {"name": "WORKLOAD_NAME", "value": "web-1"} in container_of(injected(before), "istio-proxy")["env"]


GATEWAY = pod(
    annotations={"inject.istio.io/templates": "gateway"},
    containers=[
        {
            "name": "istio-proxy",
            "image": "auto",
            "ports": [{"containerPort": 8443}],
            "resources": {"requests": {"cpu": "1"}},
            "securityContext": {"runAsUser": 0},
            "env": [{"name": "X", "value": "y"}, {"name": "WORKLOAD_NAME", "value": "edge"}],
            "args": ["proxy", "router"],
        }
    ],
)


def test_a_gateway_is_filled_in() -> None:
    after = injected(GATEWAY)
    (proxy,) = after["spec"]["containers"]
    assert "initContainers" not in after["spec"]
    assert (proxy["image"], proxy["command"]) == (SETTINGS.proxy_image, ["envoy"])
    assert "proxy" not in proxy["args"]
    assert proxy["resources"] == {"requests": {"cpu": "1"}}
    assert [port["containerPort"] for port in proxy["ports"]] == [15090, 8443]
    assert [one["value"] for one in proxy["env"] if "value" in one] == ["y", "edge"]
    assert (proxy["securityContext"]["runAsUser"], proxy["securityContext"]["readOnlyRootFilesystem"]) == (0, True)
    assert proxy["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert bootstrap(after)["node"]["id"].startswith("router~")


def test_an_error_leaves_no_pod() -> None:
    done = inject_pod(pod(annotations={"sidecar.istio.io/logLevel": "loud"}), SETTINGS)
    assert done.pod is None
    assert [problem.severity for problem in done.problems] == [Severity.ERROR]


def test_hooks_that_ask_the_application_are_remarked_on() -> None:
    hook = {"postStart": {"httpGet": {"path": "/warm", "port": 8080}}}
    (problem,) = inject_pod(pod(containers=app(lifecycle=hook)), SETTINGS).problems
    assert (problem.severity, problem.field) == (Severity.WARNING, "spec.containers[0].lifecycle.postStart.httpGet")


def test_so_many_probes_that_they_do_not_fit_are_refused() -> None:
    containers = [{"name": f"app-{number}", "readinessProbe": TCP, "livenessProbe": HTTP} for number in range(150)]
    for one in containers:
        one["ports"] = PORTS
    done = inject_pod(pod(containers=containers), SETTINGS)
    assert (done.pod, done.problems[0].code) == (None, "TooLarge")


# Twice is once

PROBES = st.sampled_from([HTTP, TCP, GRPC, EXEC])
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["app", "b", "c"]), "ports": st.just(PORTS)},
        optional={
            "readinessProbe": PROBES,
            "livenessProbe": PROBES,
            "startupProbe": PROBES,
            "lifecycle": st.sampled_from([{"postStart": EXEC}, {"preStop": EXEC}]),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda container: str(container["name"]),
)
SPECS = st.fixed_dictionaries(
    {"containers": CONTAINERS},
    optional={
        "initContainers": st.just([{"name": "first", "startupProbe": HTTP, "ports": PORTS}]),
        "volumes": st.just([{"name": "data", "emptyDir": {}}]),
        "terminationGracePeriodSeconds": st.sampled_from([0, 1, 60]),
        "restartPolicy": st.sampled_from(["Always", "Never"]),
    },
)


@given(SPECS)
def test_injecting_twice_is_injecting_once_and_can_be_undone(spec: dict[str, Any]) -> None:
    before = pod(**spec)
    kept = copy.deepcopy(before)
    after = injected(before)
    assert before == kept
    assert injected(after) == after
    undone = original_pod(after)
    undone["metadata"].setdefault("annotations", {})
    assert undone == before
    newer = InjectionSettings(revision="newer", proxy_image="newer")
    assert injected(after, newer) == injected(before, newer)


def test_what_was_changed_since_it_was_injected_is_not_undone() -> None:
    after = injected(pod(containers=app(readinessProbe=HTTP, livenessProbe=TCP)))
    changed = container_of(after, "app")
    changed["readinessProbe"] = EXEC
    changed["livenessProbe"] = {"tcpSocket": {"port": 9999}}
    changed["lifecycle"] = {"preStop": EXEC}
    after["spec"]["terminationGracePeriodSeconds"] = 100
    again = injected(after)
    assert container_of(again, "app")["readinessProbe"] == EXEC
    assert container_of(again, "app")["lifecycle"] == {"preStop": EXEC}
    assert again["spec"]["terminationGracePeriodSeconds"] == 100
    assert container_of(original_pod(again), "app")["livenessProbe"] == {"tcpSocket": {"port": 9999}}
    del container_of(again, "app")["livenessProbe"]
    assert "livenessProbe" not in container_of(injected(again), "app")


def test_a_gateway_too() -> None:
    after = injected(GATEWAY)
    assert injected(after) == after
    assert original_pod(after) == GATEWAY


def test_a_container_that_another_webhook_adds_later_is_taken_in() -> None:
    after = injected(pod(containers=app(readinessProbe=HTTP)))
    after["spec"]["containers"].append({"name": "late", "livenessProbe": TCP})
    again = injected(after)
    assert container_of(again, "late")["livenessProbe"]["httpGet"]["path"] == "/app-health/late/livez"
    assert container_of(again, "app") == container_of(after, "app")


@pytest.mark.parametrize(
    "record", ["", "{}", "[]", "null", '{"revision": "x", "probes": 1}', "[" * 50_000, "x" * 99_999]
)
def test_a_record_that_is_not_ours_is_refused(record: str) -> None:
    with pytest.raises(MalformedPod, match=r"heddle\.io/injected"):
        inject_pod(pod(annotations={"heddle.io/injected": record}), SETTINGS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 99999) | st.text("a-$(", max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=6,
)
FIELDS = st.sampled_from(["name", "image", "ports", "env", "lifecycle", "securityContext", "readinessProbe", "httpGet"])
ODD = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("labels", "annotations", "name", "ownerReferences"), JSON)
        )
        | JSON,
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "containers": st.lists(
                    st.fixed_dictionaries(
                        {"name": st.sampled_from(["a", "istio-proxy"])},
                        optional={
                            "readinessProbe": st.fixed_dictionaries(
                                {}, optional=dict.fromkeys(("httpGet", "tcpSocket", "grpc", "periodSeconds"), JSON)
                            ),
                            "ports": JSON,
                            "lifecycle": JSON,
                            "securityContext": JSON,
                        },
                    )
                    | JSON,
                    max_size=2,
                )
                | JSON,
                "initContainers": JSON,
                "volumes": JSON,
                "terminationGracePeriodSeconds": JSON,
                "restartPolicy": JSON,
                "os": JSON,
                "hostNetwork": JSON,
            },
        )
        | JSON,
    },
)


@given(ODD | JSON)
def test_whatever_comes_is_injected_or_refused(odd: Any) -> None:
    try:
        shaped = original_pod(check_shape(odd))
        decide(shaped, namespace="shop", namespace_labels={}, settings=SETTINGS, asked=True)
        done = inject_pod(odd, SETTINGS)
    except MalformedPod:
        return
    assert done.pod is None or inject_pod(done.pod, SETTINGS).pod == done.pod
