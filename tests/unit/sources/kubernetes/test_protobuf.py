"""Lists of pods in protobuf: nothing that is read of a pod differs from what JSON would have said."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import ParseDict

from protos.kubernetes_pods_pb2 import Envelope, Pod, PodList, Status, TypeMeta
from sources.kubernetes import protobuf
from sources.kubernetes.events import Garbled, Json, key_of, parse_page, parse_refusal, version_of
from sources.kubernetes.observed_pods import to_observed_pod
from tests.kubernetes_api import objects


def answer(kind: str, raw: bytes) -> bytes:
    return protobuf.MAGIC + Envelope(type_meta=TypeMeta(api_version="v1", kind=kind), raw=raw).SerializeToString()


def full_pod() -> Json:
    item = objects.pod("web-abc-1", "10.0.0.1", node="n1")
    item["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "web-abc", "controller": True}]
    item["metadata"]["labels"] |= {"pod-template-hash": "abc", "istio-locality": "r.z"}
    item["metadata"]["annotations"]["heddle.io/sidecar-config"] = "eager"
    item["spec"]["initContainers"] += [
        {"name": "auth", "restartPolicy": "Always", "ports": [{"containerPort": 9000, "name": "auth"}]},
        {"name": "migrate", "ports": [{"containerPort": 9001}]},
    ]
    item["spec"] |= {"hostname": "web-0", "subdomain": "web"}
    item["status"]["podIPs"] = [{"ip": "fd00::1"}, {"ip": "10.0.0.1"}]
    return item


def to_message(item: Json) -> Pod:
    annotations = {name: value.encode() for name, value in item["metadata"].pop("annotations").items()}
    pod: Pod = ParseDict(item, Pod(), ignore_unknown_fields=True)
    for name, value in annotations.items():
        pod.metadata.annotations[name] = value
    return pod


@pytest.mark.parametrize(
    "item",
    [
        full_pod(),
        objects.pod("web-1", ""),
        objects.pod("web-1", "10.0.0.1", meshed=False),
        {**objects.pod("web-1", "10.0.0.1"), "spec": {"hostNetwork": True, "containers": [{"name": "app"}]}},
        {**objects.pod("web-1", "10.0.0.1"), "status": {"phase": "Succeeded", "podIP": "10.0.0.1"}},
    ],
)
def test_a_pod_is_the_same_in_either_form(item: Json) -> None:
    expected, key, version = to_observed_pod(item), key_of(item), version_of(item)
    listed = PodList(items=[to_message(item)])
    listed.metadata.resource_version, listed.metadata.continue_token = "17", "next"
    page = parse_page(answer("PodList", listed.SerializeToString()))
    assert (page.version, page.token) == ("17", "next")
    (read,) = page.items
    assert to_observed_pod(read) == expected
    assert (key_of(read), version_of(read)) == (key, version)


def test_texts_that_are_no_utf_8_do_not_hide_the_other_pods() -> None:
    pod = to_message(full_pod())
    pod.metadata.annotations["odd"] = b"\xff"
    page = parse_page(answer("PodList", PodList(items=[pod]).SerializeToString()))
    assert page.items[0]["metadata"]["annotations"]["odd"] == "\N{REPLACEMENT CHARACTER}"


def test_a_refusal_in_protobuf() -> None:
    status = Status(message=b"pods is forbidden", reason="Forbidden", code=403)
    refusal = parse_refusal(403, answer("Status", status.SerializeToString()))
    assert (refusal.code, refusal.reason, refusal.message) == (403, "Forbidden", "pods is forbidden")


@pytest.mark.parametrize(
    "body", [protobuf.MAGIC + b"\xff\xff", answer("PodList", b"\xff"), answer("ServiceList", b""), protobuf.MAGIC]
)
def test_what_cannot_be_read(body: bytes) -> None:
    with pytest.raises(Garbled):
        parse_page(body)
