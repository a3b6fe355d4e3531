"""What sidecars refuse is among the store's problems, on the objects that it was made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from heddle.cluster.replica_progress import RejectedAt
from heddle.culprits import Culprits
from heddle.rejections import to_problems
from model.asker import Asker
from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Position, Problem, Severity
from protos.type_urls import CLUSTER, VIRTUAL_HOST
from sources.store import Store

WEB = Asker(namespace="shop", pod="web-1", service_account="web")
HOST = "users.shop.svc.cluster.local"
MANIFESTS = """\
apiVersion: v1
kind: Service
metadata: {name: users, namespace: shop}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: users, namespace: shop}
spec: {hosts: [users], http: [{route: [{destination: {host: nowhere}}]}]}
"""
TABLE = RejectedAt(asker=WEB, type_url=VIRTUAL_HOST, resource=f"80/{HOST}:80", words="bad regex")


@pytest.fixture
def store() -> Store:
    found = Store()
    found.replace_files({"a.yaml": MANIFESTS.encode()})
    return found


def of(store: Store) -> Callable[[], Culprits]:
    return lambda: Culprits(store.objects.values(), store.mesh.settings.root_namespace)


def test_many_sidecars_that_refuse_one_resource_are_one_problem_of_its_object(store: Store) -> None:
    others = [replace(TABLE, asker=replace(WEB, pod=f"web-{number}")) for number in (3, 2)]
    (problem,) = to_problems([*others, TABLE], of(store))
    assert problem.object == ObjectRef(kind="VirtualService", namespace="shop", name="users")
    assert (problem.severity, problem.code) == (Severity.ERROR, ProblemCode.REJECTED_BY_SIDECAR)
    assert problem.position == Position(file="a.yaml", line=6)
    assert problem.message == (
        f"sidecar web-1.shop and 2 more refuse the route 80/{HOST}:80 that is made of it: bad regex"
    )


def test_what_no_object_is_known_for_is_a_problem_too(store: Store) -> None:
    unknown = RejectedAt(asker=WEB, type_url=CLUSTER, resource="BlackHoleCluster", words="no")
    (problem,) = to_problems([unknown], of(store))
    assert (problem.object, problem.position) == (None, None)
    assert problem.message == "sidecar web-1.shop refuses the cluster BlackHoleCluster: no"


def test_the_objects_are_not_looked_through_where_nothing_is_refused() -> None:
    def never() -> Culprits:
        raise AssertionError

    assert to_problems([], never) == ()


def test_the_store_has_them_among_its_problems_by_place_for_as_long_as_they_last(store: Store) -> None:
    refused: list[RejectedAt] = []
    store.tell_refused(lambda: to_problems(refused, of(store)))
    before = store.problems
    assert "UnknownHost" in codes(before)
    refused.append(TABLE)
    generation = store.generation
    assert codes(store.problems) == sorted_by_place(store.problems)
    assert set(codes(store.problems)) - set(codes(before)) == {"RejectedBySidecar"}
    assert store.problems_read == before, "what is wrong with what was read is the same"
    assert store.generation == generation, "nobody is sent anything for it"
    refused.clear()
    assert store.problems is store.problems_read


def codes(problems: tuple[Problem, ...]) -> list[str]:
    return [str(problem.code) for problem in problems]


def sorted_by_place(problems: tuple[Problem, ...]) -> list[str]:
    return codes(tuple(sorted(problems, key=lambda each: each.position.line if each.position else 0)))
