"""What an API server asks, and is told."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from injector.admission_review import BadReview, ReviewAnswer, answer_review, parse_review, to_json
from injector.inject_pod import inject_pod
from injector.settings import InjectionSettings
from tests.unit.injector.pods import pod
from tests.unit.injector.test_json_patch import apply

SETTINGS = InjectionSettings()
ENABLED = {"heddle.io/inject": "enabled"}


def review(before: Any, **fields: Any) -> bytes:
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "shop",
        "operation": "CREATE",
        "object": before,
        **fields,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def answer(before: Any, labels: dict[str, str] | None = ENABLED, **fields: Any) -> ReviewAnswer:
    return answer_review(parse_review(review(before, **fields)), labels, SETTINGS)


def test_the_patch_makes_the_injected_pod() -> None:
    before = pod(containers=[{"name": "app", "readinessProbe": {"tcpSocket": {"port": 1}}}])
    response = json.loads(to_json(answer(before)))["response"]
    assert (response["uid"], response["allowed"], response["patchType"]) == (
        "705ab4f5-6393-11e8-b7cc-42010a800002",
        True,
        "JSONPatch",
    )
    patch = json.loads(base64.b64decode(response["patch"]))
    assert apply(before, patch) == inject_pod(before, SETTINGS).pod
    assert "status" not in response


def test_asked_again_it_changes_nothing() -> None:
    after = inject_pod(pod(), SETTINGS).pod
    assert answer(after).patch == ()
    # The API server has filled in defaults in between: what is ours is put back, what is not is left.
    assert after is not None
    defaulted = copy.deepcopy(after)
    defaulted["spec"]["initContainers"][0]["terminationMessagePath"] = "/dev/termination-log"
    defaulted["spec"]["dnsPolicy"] = "ClusterFirst"
    patched = apply(defaulted, list(answer(defaulted).patch))
    assert patched == {**after, "spec": {**after["spec"], "dnsPolicy": "ClusterFirst"}}


@pytest.mark.parametrize(
    ("before", "labels", "fields", "warned"),
    [
        (pod(), {}, {}, False),
        (pod(labels={"sidecar.istio.io/inject": "false"}), ENABLED, {}, False),
        (pod(hostNetwork=True), ENABLED, {}, True),
        (pod(), ENABLED, {"operation": "UPDATE"}, False),
        (pod(), ENABLED, {"operation": "DELETE"}, False),
        (pod(), ENABLED, {"subResource": "ephemeralcontainers"}, False),
        (None, ENABLED, {"operation": "DELETE"}, False),
    ],
)
def test_pods_that_stay_as_they_are(before: Any, labels: dict[str, str], fields: dict[str, Any], warned: bool) -> None:
    told = answer(before, labels, **fields)
    assert (told.allowed, told.patch, bool(told.warnings)) == (True, (), warned)


@pytest.mark.parametrize(
    ("before", "fields", "code", "mentioned"),
    [
        (pod(annotations={"sidecar.istio.io/logLevel": "loud"}), {}, 400, "sidecar.istio.io/logLevel"),
        (pod(annotations={"heddle.io/injected": "x"}), {}, 400, "heddle.io/injected"),
        (pod(), {"kind": {"group": "apps", "kind": "Deployment"}}, 400, "Deployment"),
        (pod(), {"kind": {"group": "example.com", "kind": "Pod"}}, 200, ""),
        ({"spec": {"containers": "none"}}, {}, 400, "spec.containers"),
        ("pod", {}, 400, "no mapping"),
    ],
)
def test_what_is_refused_and_why(before: Any, fields: dict[str, Any], code: int, mentioned: str) -> None:
    told = answer(before, **fields)
    assert told.allowed is (code == 200)
    response = json.loads(to_json(told))["response"]
    if code != 200:
        assert response["status"]["code"] == code
        assert mentioned in response["status"]["message"]
        assert "patch" not in response


def test_of_an_unknown_namespace_nothing_is_decided() -> None:
    told = answer(pod(), None)
    assert (told.allowed, told.code) == (False, 503)
    assert "try again" in told.message


def test_warnings_are_short_and_in_one_line() -> None:
    annotations = {f"sidecar.istio.io/x{number}{'y' * 300}": "" for number in range(30)}
    told = answer(pod(annotations=annotations))
    assert told.allowed
    assert 0 < len(told.warnings) < 16
    assert all(len(warning) <= 256 and "\n" not in warning for warning in told.warnings)


@pytest.mark.parametrize(
    ("level", "fields", "warned"),
    [
        ("restricted", {}, True),
        ("baseline", {}, True),
        ("privileged", {}, False),
        ("odd", {}, False),
        ("restricted", {"labels": {"sidecar.istio.io/inject": "false"}}, False),
        (
            "restricted",
            {
                "annotations": {"inject.istio.io/templates": "gateway"},
                "containers": [{"name": "istio-proxy", "image": "auto"}],
            },
            False,
        ),
    ],
)
def test_pod_security_is_told_of_before_it_refuses(level: str, fields: dict[str, Any], warned: bool) -> None:
    told = answer(pod(**fields), {**ENABLED, "pod-security.kubernetes.io/enforce": level})
    assert told.allowed
    assert [warning for warning in told.warnings if level in warning] == list(told.warnings)
    assert bool(told.warnings) is warned
    if warned:
        assert "pod-security.kubernetes.io/enforce=privileged" in told.warnings[0]


REVIEW: dict[str, Any] = json.loads(review(pod()))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"kind": "AdmissionReview"}',
        b"[" * 100_000,
        b'{"a":' * 70 + b"1" + b"}" * 70,
        b'{"kind": 1' + b"0" * 5000 + b"}",
        json.dumps({**REVIEW, "apiVersion": "admission.k8s.io/v1beta1"}).encode(),
        json.dumps({**REVIEW, "kind": "ConversionReview"}).encode(),
        json.dumps({**REVIEW, "request": None}).encode(),
        review(pod(), uid=""),
        review(pod(), uid=None),
        review(pod(), uid="x" * 200),
        review(pod(), uid="a b"),
        review(pod(), kind=None),
        review(pod(), kind={"kind": 1}),
    ],
)
def test_what_cannot_be_answered(body: bytes) -> None:
    with pytest.raises(BadReview):
        parse_review(body)


@given(st.binary(max_size=64))
def test_any_bytes(body: bytes) -> None:
    with pytest.raises(BadReview):
        parse_review(body)
