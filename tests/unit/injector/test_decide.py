"""Who gets a sidecar. The rows about Istio's labels say what the selectors of its webhooks say."""

from __future__ import annotations

from typing import Any

import pytest

from injector.decide import Why, decide
from injector.obstacles import Obstacle
from injector.settings import InjectionSettings
from tests.unit.injector.pods import pod

SETTINGS = InjectionSettings()
CANARY = InjectionSettings(revision="heddle-canary", is_default=False)
TAKEOVER = InjectionSettings(take_over_istio_injection=True)
INJECT, OWN, REV, ISTIO = "sidecar.istio.io/inject", "heddle.io/inject", "istio.io/rev", "istio-injection"


@pytest.mark.parametrize(
    ("namespace", "labels", "settings", "why", "inject"),
    [
        ({}, {}, SETTINGS, Why.NOT_ASKED, False),
        # The namespace decides.
        ({OWN: "enabled"}, {}, SETTINGS, Why.NAMESPACE, True),
        ({OWN: "enabled"}, {INJECT: "false"}, SETTINGS, Why.POD_DISABLED, False),
        ({OWN: "enabled"}, {INJECT: "true"}, SETTINGS, Why.NAMESPACE, True),
        ({OWN: "enabled"}, {INJECT: "maybe"}, SETTINGS, Why.UNKNOWN_VALUE, False),
        ({OWN: "enabled"}, {OWN: "disabled"}, SETTINGS, Why.POD_DISABLED, False),
        ({OWN: "enable"}, {}, SETTINGS, Why.UNKNOWN_VALUE, False),
        ({OWN: "disabled"}, {OWN: "enabled"}, SETTINGS, Why.NAMESPACE_DISABLED, False),
        ({OWN: "disabled", REV: "heddle"}, {}, SETTINGS, Why.NAMESPACE_DISABLED, False),
        # Revisions.
        ({REV: "heddle"}, {}, SETTINGS, Why.NAMESPACE, True),
        ({REV: "heddle"}, {REV: "heddle-canary"}, SETTINGS, Why.NAMESPACE, True),
        ({REV: "heddle"}, {REV: "heddle-canary"}, CANARY, Why.OTHER_REVISION, False),
        ({REV: "heddle-canary"}, {}, SETTINGS, Why.OTHER_REVISION, False),
        ({REV: "heddle-canary"}, {}, CANARY, Why.NAMESPACE, True),
        ({REV: "heddle-canary", OWN: "enabled"}, {}, CANARY, Why.NAMESPACE, True),
        ({REV: "heddle-canary", OWN: "enabled"}, {}, SETTINGS, Why.OTHER_REVISION, False),
        ({OWN: "enabled"}, {}, CANARY, Why.OTHER_REVISION, False),
        ({REV: "1-28"}, {REV: "heddle"}, SETTINGS, Why.OTHER_REVISION, False),
        # The pod, where its namespace says nothing.
        ({}, {REV: "heddle"}, SETTINGS, Why.POD, True),
        ({}, {REV: "heddle", INJECT: "false"}, SETTINGS, Why.POD_DISABLED, False),
        ({}, {REV: "1-28"}, SETTINGS, Why.OTHER_REVISION, False),
        ({}, {OWN: "enabled"}, SETTINGS, Why.POD, True),
        ({}, {OWN: "enabled"}, CANARY, Why.OTHER_REVISION, False),
        ({}, {INJECT: "true"}, SETTINGS, Why.NOT_ASKED, False),
        ({}, {INJECT: "true"}, TAKEOVER, Why.POD, True),
        # Istio's own label.
        ({ISTIO: "enabled"}, {}, SETTINGS, Why.ISTIO, False),
        ({ISTIO: "enabled"}, {REV: "heddle"}, SETTINGS, Why.ISTIO, False),
        ({ISTIO: "enabled", REV: "heddle"}, {}, SETTINGS, Why.ISTIO, False),
        ({ISTIO: "enabled", OWN: "enabled"}, {}, SETTINGS, Why.ISTIO, False),
        ({ISTIO: "enabled"}, {}, TAKEOVER, Why.NAMESPACE, True),
        ({ISTIO: "enabled", REV: "1-28"}, {}, TAKEOVER, Why.NAMESPACE, True),
        ({ISTIO: "disabled"}, {REV: "heddle"}, SETTINGS, Why.NAMESPACE_DISABLED, False),
        ({ISTIO: "disabled", REV: "heddle"}, {}, SETTINGS, Why.NAMESPACE_DISABLED, False),
        ({ISTIO: "disabled", OWN: "enabled"}, {}, SETTINGS, Why.NAMESPACE, True),
        ({ISTIO: "disabled"}, {}, TAKEOVER, Why.NAMESPACE_DISABLED, False),
    ],
)
def test_labels(
    namespace: dict[str, str], labels: dict[str, str], settings: InjectionSettings, why: Why, inject: bool
) -> None:
    decision = decide(pod(labels=labels), namespace="shop", namespace_labels=namespace, settings=settings)
    assert (decision.why, decision.inject) == (why, inject)
    assert decision.inject or decision.fix


def test_the_annotation_counts_where_there_is_no_label() -> None:
    enabled = {OWN: "enabled"}
    by_annotation = pod(annotations={INJECT: "false"})
    assert not decide(by_annotation, namespace="shop", namespace_labels=enabled, settings=SETTINGS).inject
    by_label = pod(labels={INJECT: "true"}, annotations={INJECT: "false"})
    assert decide(by_label, namespace="shop", namespace_labels=enabled, settings=SETTINGS).inject


@pytest.mark.parametrize("namespace", ["kube-system", "kube-node-lease", "heddle-system"])
def test_the_systems_own_namespaces_are_left_alone(namespace: str) -> None:
    decision = decide(pod(), namespace=namespace, namespace_labels={OWN: "enabled"}, settings=SETTINGS, asked=True)
    assert decision.why is Why.SYSTEM_NAMESPACE


def container(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "app", "image": "web:1", **fields}]


GATEWAY = {"inject.istio.io/templates": "gateway"}
AUTO = [{"name": "istio-proxy", "image": "auto"}]


@pytest.mark.parametrize(
    ("odd", "obstacle"),
    [
        (pod(hostNetwork=True), Obstacle.HOST_NETWORK),
        (pod(os={"name": "windows"}), Obstacle.WINDOWS),
        (pod(nodeSelector={"kubernetes.io/os": "windows"}), Obstacle.WINDOWS),
        (pod(nodeSelector={"kubernetes.io/os": "linux"}), None),
        (pod(nodeSelector=None), None),
        (pod(containers=[*container(), {"name": "istio-proxy", "image": "istio/proxyv2"}]), Obstacle.OTHER_SIDECAR),
        (pod(initContainers=[{"name": "istio-proxy", "restartPolicy": "Always"}]), Obstacle.OTHER_SIDECAR),
        (pod(initContainers=[{"name": "istio-validation"}]), Obstacle.OTHER_SIDECAR),
        (pod(containers=AUTO), Obstacle.GATEWAY_UNCLEAR),
        (pod(annotations=GATEWAY), Obstacle.GATEWAY_UNCLEAR),
        (pod(annotations=GATEWAY, containers=[{"name": "istio-proxy", "image": "x"}]), Obstacle.GATEWAY_UNCLEAR),
        (pod(annotations=GATEWAY, initContainers=AUTO), Obstacle.GATEWAY_UNCLEAR),
        (pod(containers=container(securityContext={"runAsUser": 1337})), Obstacle.SIDECAR_USER),
        (pod(securityContext={"runAsUser": 1337}), Obstacle.SIDECAR_USER),
        (
            pod(securityContext={"runAsUser": 1337}, containers=container(securityContext={"runAsUser": None})),
            Obstacle.SIDECAR_USER,
        ),
        (pod(containers=container(ports=[{"containerPort": 15020}])), Obstacle.SIDECAR_PORT),
        (pod(volumes=[{"name": "heddle-run"}]), Obstacle.NAME_TAKEN),
        (pod(annotations=GATEWAY, containers=AUTO), None),
        (pod(securityContext={"runAsUser": 1337}, containers=container(securityContext={"runAsUser": 1})), None),
    ],
)
def test_odd_pods(odd: dict[str, Any], obstacle: Obstacle | None) -> None:
    decision = decide(odd, namespace="shop", namespace_labels={OWN: "enabled"}, settings=SETTINGS)
    if obstacle is None:
        assert decision.inject
        return
    assert (decision.inject, decision.why, decision.surprising) == (False, obstacle, True)
    assert decision.message
    assert decision.fix


def test_what_is_in_the_way_of_a_pod_that_nobody_wants_injected_does_not_matter() -> None:
    decision = decide(pod(hostNetwork=True), namespace="shop", namespace_labels={}, settings=SETTINGS)
    assert (decision.why, decision.surprising) == (Why.NOT_ASKED, False)


def test_who_asks_by_hand_needs_no_label_but_a_pod_may_decline() -> None:
    def asked(**more: Any) -> tuple[bool, Why | Obstacle]:
        decision = decide(pod(**more), namespace="shop", namespace_labels={}, settings=SETTINGS, asked=True)
        return decision.inject, decision.why

    assert asked() == (True, Why.ASKED)
    assert asked(labels={INJECT: "false"}) == (False, Why.POD_DISABLED)
    assert asked(labels={REV: "other"}) == (False, Why.OTHER_REVISION)
    assert asked(hostNetwork=True) == (False, Obstacle.HOST_NETWORK)
