"""Derived resources: equal bytes stay one object, a failure leaves the last good one."""

from __future__ import annotations

import betterproto2
from envoy_data_plane.envoy.config.cluster.v3 import Cluster

from model.asker import Asker
from model.mesh import Mesh
from model.problems import ObjectRef
from model.services import Service
from model.view import View
from protos.type_urls import CLUSTER
from xds.events import DerivationFailed
from xds.memo import Memo
from xds.read_memo import KnownAsker

ASKER = KnownAsker(Asker(namespace="n", pod="p", service_account="s"))


def world(content: str, other: str = "") -> Mesh:
    ref = ObjectRef(kind="Service", name="a", namespace=other)
    return Mesh(services={"a": Service(ref=ref, external_name=content)} if content else {})


def derive(type_url: str, name: str, view: View) -> betterproto2.Message | None:
    service = view.service("a")
    if service is None:
        return None
    if service.external_name == "broken":
        raise ZeroDivisionError
    return Cluster(name=name, alt_stat_name=service.external_name)


def names(type_url: str, view: View) -> tuple[str, ...]:
    service = view.service("a")
    if service is not None and service.external_name == "broken":
        raise ZeroDivisionError
    return ("a",) if service else ()


def memo_of(mesh: Mesh) -> tuple[Memo, list[DerivationFailed]]:
    failures: list[DerivationFailed] = []
    return Memo(derive=derive, names=names, report=failures.append, mesh=mesh), failures


def test_equal_bytes_stay_the_same_resource() -> None:
    memo, _ = memo_of(world("1"))
    first = memo.find(CLUSTER, "a", ASKER).resource
    memo.advance(world("1", other="unread"))
    assert memo.find(CLUSTER, "a", ASKER).resource is first
    memo.advance(world("2"))
    second = memo.find(CLUSTER, "a", ASKER).resource
    assert second is not None
    assert first is not None
    assert second.version != first.version
    assert bytes(second.body) == bytes(Cluster(name="a", alt_stat_name="2"))


def test_a_failure_leaves_the_last_good_resource_and_is_reported_once() -> None:
    memo, failures = memo_of(world("1"))
    first = memo.find(CLUSTER, "a", ASKER)
    memo.advance(world("broken"))
    for _ in range(3):
        found = memo.find(CLUSTER, "a", ASKER)
        assert (found.resource, found.failed) == (first.resource, True)
    assert [(failure.name, type(failure.error)) for failure in failures] == [("a", ZeroDivisionError)]
    memo.advance(world("1"))
    assert memo.find(CLUSTER, "a", ASKER) == first


def test_a_failure_without_a_last_good_one_says_so() -> None:
    memo, _ = memo_of(world("broken"))
    found = memo.find(CLUSTER, "a", ASKER)
    assert (found.resource, found.failed) == (None, True)


def test_what_goes_and_comes_is_marked() -> None:
    memo, _ = memo_of(world(""))
    assert memo.find(CLUSTER, "a", ASKER).resource is None
    assert memo.advance(world("1")).names == {CLUSTER: {"a"}}
    assert memo.find(CLUSTER, "a", ASKER).resource is not None
    assert memo.advance(world("")).names == {CLUSTER: {"a"}}
    assert memo.find(CLUSTER, "a", ASKER).resource is None


def test_equal_names_stay_the_same_scope_and_a_failure_leaves_the_last_good_ones() -> None:
    memo, failures = memo_of(world("1"))
    first = memo.scope(CLUSTER, ASKER)
    assert memo.advance(world("2")).scopes == {CLUSTER}
    assert memo.scope(CLUSTER, ASKER) is first
    memo.advance(world("broken"))
    broken = memo.scope(CLUSTER, ASKER)
    assert (broken.members, broken.failed) == ({"a"}, True)
    assert [failure.name for failure in failures] == [""]
    memo.advance(world(""))
    assert memo.scope(CLUSTER, ASKER).members == frozenset()
