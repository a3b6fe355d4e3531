"""Texts of manifests: what passes through, what is injected, and where a mistake is."""

from __future__ import annotations

import pytest

from injector.decide import Why
from injector.manifests import explain_text, inject_text, namespace_labels
from injector.obstacles import Obstacle
from injector.settings import InjectionSettings
from sources.yaml_documents import read_documents

SETTINGS = InjectionSettings()
OTHER = "# kept\nkind:   ConfigMap   # and this\napiVersion: v1\ndata: {a: &x 1, b: *x}\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec: {containers: [{name: app}]}\n"


def injected(text: str) -> str:
    done = inject_text(text.encode(), file="a.yaml", settings=SETTINGS)
    assert done.text is not None
    return done.text


@pytest.mark.parametrize(
    "text",
    [
        OTHER,
        f"---\n{OTHER}---\n{OTHER}",
        f"{OTHER}---\n# only a comment\n---\n{OTHER}",
        "",
        "# nothing\n",
        "---\n---\n",
    ],
)
def test_what_does_not_change_stays_as_it_is_written(text: str) -> None:
    assert injected(text) == text


def test_documents_around_an_injected_one_stay_as_they_are_written() -> None:
    text = injected(f"{OTHER}---\n{POD}---\n{OTHER}")
    first, second, third = text.split("---\n")
    assert (first, third) == (OTHER, OTHER)
    assert "name: istio-proxy" in second
    assert len(read_documents(text.encode())) == 3


def test_json_and_windows_line_ends_are_read() -> None:
    json = '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "b"}]}}'
    assert "name: istio-proxy" in injected(json)
    assert injected(f"{OTHER}---\n{POD}".replace("\n", "\r\n")).count("name: istio-proxy") == 1


def test_a_mistake_is_named_with_its_line() -> None:
    bad = POD.replace("namespace: shop}", 'namespace: shop, annotations: {\n  sidecar.istio.io/logLevel: "loud"}}')
    done = inject_text(f"{OTHER}---\n{bad}".encode(), file="a.yaml", settings=SETTINGS)
    assert done.text is None
    (problem,) = done.problems
    assert (str(problem.position), str(problem.object)) == ("a.yaml:9", "Pod/shop/web")
    assert problem.field == "metadata.annotations['sidecar.istio.io/logLevel']"


def test_in_a_template_of_a_list_too() -> None:
    text = """\
kind: List
apiVersion: v1
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web}
  spec:
    template:
      metadata:
        annotations:
          traffic.sidecar.istio.io/excludeInboundPorts: many
      spec: {containers: [{name: app}]}
"""
    (problem,) = inject_text(text.encode(), file="a.yaml", settings=SETTINGS).problems
    assert str(problem.position) == "a.yaml:11"
    assert problem.field == (
        "items[0].spec.template.metadata.annotations['traffic.sidecar.istio.io/excludeInboundPorts']"
    )


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        (f"{OTHER}---\na: [\n", "MalformedYaml", 7),
        (f"{OTHER}---\n{POD}kind: Pod\n", "DuplicateKey", 10),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  replicas: 1\n", "WrongType", 4),
        ("apiVersion: v1\nkind: Pod\nspec:\n  containers:\n    - image: x\n", "WrongType", 5),
        ("apiVersion: v1\nkind: Pod\nspec:\n  containers: [{name: a, env: x}]\n", "WrongType", 4),
        ("apiVersion: v1\nkind: Pod\nmetadata: {annotations: {a: 1}}\nspec: {containers: []}\n", "WrongType", 3),
    ],
)
def test_what_is_no_manifest_is_refused(text: str, code: str, line: int) -> None:
    done = inject_text(text.encode(), file="a.yaml", settings=SETTINGS)
    assert done.text is None
    assert (done.problems[0].code, str(done.problems[0].position)) == (code, f"a.yaml:{line}")
    assert done.problems[0].fix


def test_bytes_that_are_no_text_are_refused() -> None:
    done = inject_text(b"\xff\xfe\x00", file="a.yaml", settings=SETTINGS)
    assert (done.text, done.problems[0].code) == (None, "MalformedYaml")


def test_explaining_goes_by_the_labels_of_the_namespace() -> None:
    labels = namespace_labels(
        b"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {heddle.io/inject: enabled}}\n"
    )
    assert labels == {"shop": {"heddle.io/inject": "enabled"}}
    agent = POD.replace("name: web", "name: agent").replace("spec: {", "spec: {hostNetwork: true, ")
    elsewhere = POD.replace("namespace: shop", "namespace: other")
    text = f"{POD}---\n{agent}---\n{elsewhere}---\n{injected(POD)}"
    explained, problems = explain_text(text.encode(), file="a.yaml", settings=SETTINGS, namespaces=labels)
    assert problems == ()
    assert [(one.decision.inject, one.decision.why, one.injected) for one in explained] == [
        (True, Why.NAMESPACE, False),
        (False, Obstacle.HOST_NETWORK, False),
        (False, Why.NOT_ASKED, False),
        (True, Why.NAMESPACE, True),
    ]


def test_odd_namespaces_have_no_labels() -> None:
    text = (
        b"apiVersion: v1\nkind: Namespace\nmetadata: [x]\n---\napiVersion: v1\nkind: Namespace\nmetadata: {labels: 1}\n"
    )
    assert set(map(str, namespace_labels(text).values())) == {"{}"}
