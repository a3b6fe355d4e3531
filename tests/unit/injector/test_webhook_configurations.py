"""The selectors of docs/webhook-configurations.yaml say what the injector decides."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from injector.decide import Why, decide
from injector.settings import InjectionSettings
from sources.registry import KINDS
from tests.unit.injector.pods import pod

FILE = Path(__file__).resolve().parents[3] / "docs" / "webhook-configurations.yaml"
INJECTOR, VALIDATOR, TAKE_OVER = yaml.safe_load_all(FILE.read_text())
NAME = "kubernetes.io/metadata.name"


def fits(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """As an API server compares."""

    def one(expression: dict[str, Any]) -> bool:
        value = labels.get(expression["key"])
        return {
            "Exists": value is not None,
            "DoesNotExist": value is None,
            "In": value in expression.get("values", ()),
            "NotIn": value not in expression.get("values", ()),
        }[expression["operator"]]

    return all(one(expression) for expression in selector["matchExpressions"])


LABELS = {
    "ours": "heddle.io/inject",
    "rev": "istio.io/rev",
    "istio": "istio-injection",
    "inject": "sidecar.istio.io/inject",
}


def choices(**values: tuple[str | None, ...]) -> list[dict[str, str]]:
    """Every combination of labels; None leaves one out."""
    return [
        {LABELS[key]: value for key, value in zip(values, combination, strict=True) if value is not None}
        for combination in itertools.product(*values.values())
    ]


NAMESPACES = choices(
    ours=(None, "enabled", "disabled", "false", "no", "odd", ""),
    rev=(None, "heddle", "other"),
    istio=(None, "enabled", "disabled"),
)
PODS = choices(
    ours=(None, "enabled", "disabled", "false"),
    rev=(None, "heddle", "other"),
    inject=(None, "true", "false", "no", "odd"),
)


def check(webhooks: list[dict[str, Any]], settings: InjectionSettings) -> None:
    seen = set()
    for (name, labels), pod_labels in itertools.product(
        [
            *(("shop", labels) for labels in NAMESPACES),
            *((name, {"heddle.io/inject": "enabled"}) for name in ("kube-system", "heddle-system")),
        ],
        PODS,
    ):
        sent = [
            webhook["name"]
            for webhook in webhooks
            if fits(webhook["namespaceSelector"], {**labels, NAME: name})
            and fits(webhook["objectSelector"], {"app": "web", **pod_labels})
        ]
        decision = decide(pod(labels=pod_labels), namespace=name, namespace_labels=labels, settings=settings)
        seen.add((decision.why, bool(sent)))
        case = (name, labels, pod_labels, decision.why, sent)
        assert not decision.inject or sent, case
        assert len(sent) < 2, case
        if decision.why is Why.SYSTEM_NAMESPACE:
            assert not sent, case
        if decision.why is Why.NOT_ASKED:
            assert not sent, case
    assert (Why.NAMESPACE, True) in seen
    assert (Why.NOT_ASKED, False) in seen


def test_who_is_injected_is_sent_and_who_has_nothing_to_do_with_us_is_not() -> None:
    check(INJECTOR["webhooks"], InjectionSettings())


def test_taking_over() -> None:
    settings = replace(InjectionSettings(), take_over_istio_injection=True)
    check([*INJECTOR["webhooks"], *TAKE_OVER["webhooks"]], settings)


def test_another_revision() -> None:
    settings = replace(InjectionSettings(), revision="other", is_default=False)
    ours = [webhook for webhook in INJECTOR["webhooks"] if webhook["name"].startswith("revision.")]
    text = yaml.safe_dump(ours).replace("- heddle\n", "- other\n")
    check(yaml.safe_load(text), settings)


def test_how_an_api_server_asks() -> None:
    for webhook in (*INJECTOR["webhooks"], *TAKE_OVER["webhooks"]):
        assert webhook["reinvocationPolicy"] == "IfNeeded"
        assert webhook["rules"] == INJECTOR["webhooks"][0]["rules"]
    for webhook in (*INJECTOR["webhooks"], *TAKE_OVER["webhooks"], *VALIDATOR["webhooks"]):
        assert (webhook["sideEffects"], webhook["timeoutSeconds"]) == ("None", 5)
        assert "caBundle" not in webhook["clientConfig"]


def test_every_kind_of_the_mesh_is_validated() -> None:
    asked = {
        (group, resource)
        for rule in VALIDATOR["webhooks"][0]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    plural = {"y": "ies"}
    read = {
        (kind.group, kind.kind.lower()[:-1] + plural["y"] if kind.kind.endswith("y") else f"{kind.kind.lower()}s")
        for kind in KINDS.values()
        if kind.group.endswith((".istio.io", "heddle.io"))
    }
    assert read <= asked
