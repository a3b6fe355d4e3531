"""What an object's conditions say, from what is known of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heddle.cluster.concerns import concerns
from heddle.cluster.object_conditions import Delivery, Refusal, Rejection, build_conditions, is_settled
from heddle.cluster.token_bucket import TokenBucket
from model.asker import Asker
from model.pods import ProxyKind
from model.policies import AuthorizationPolicy
from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Problem, Severity
from model.routing import VirtualService
from model.sidecars import Sidecar
from model.traffic import DestinationRule, TrafficPolicy
from protos.type_urls import CLUSTER, LISTENER, ROUTE, VIRTUAL_HOST
from sources.kubernetes.object_status import Condition, ObservedStatus

REF = ObjectRef(kind="VirtualService", namespace="shop", name="web")
NEW = ObservedStatus(ref=REF, path="/x", api_version="networking.istio.io/v1", uid="u", generation=3)
ALL = Delivery(sidecars=2, acknowledged=2)
SINCE = "2026-01-01T00:00:00Z"


def problem(code: ProblemCode, severity: Severity = Severity.ERROR) -> Problem:
    return Problem(
        severity=severity, code=code, message="it is wrong", fix="Mend it.", object=REF, field="spec.http[0]"
    )


def conditions(
    *problems: Problem, delivery: Delivery = ALL, observed: ObservedStatus = NEW, refusal: Refusal | None = None
) -> dict[str, tuple[str, str, str]]:
    found = build_conditions(observed, problems, delivery, refusal)
    assert all(each.observed_generation == observed.generation for each in found)
    return {each.type: (each.status, each.reason, each.message) for each in found}


def written(observed: ObservedStatus, *problems: Problem, delivery: Delivery = ALL) -> ObservedStatus:
    """As it is after the writer's work."""
    found = build_conditions(observed, problems, delivery)
    dated = tuple(replace(each, since=each.since or SINCE) for each in found)
    return replace(observed, conditions=dated, observed_generation=observed.generation)


def test_a_good_object_that_is_everywhere() -> None:
    assert conditions() == {
        "Accepted": ("True", "Accepted", "The object is in force."),
        "Conflicted": ("False", "NoConflicts", ""),
        "Programmed": ("True", "Acknowledged", "All 2 connected sidecars have acknowledged it."),
    }


def test_an_error_is_the_reason_with_field_and_fix() -> None:
    found = conditions(problem(ProblemCode.INVALID_VALUE), problem(ProblemCode.WRONG_TYPE), refusal=Refusal.NONE)
    assert found["Accepted"] == ("False", "InvalidValue", "spec.http[0]: it is wrong. Mend it. (1 more)")
    assert found["Programmed"] == ("False", "NotAccepted", str(Refusal.NONE))


def test_a_warning_is_told_and_hinders_nothing() -> None:
    found = conditions(problem(ProblemCode.NEVER_MATCHES, Severity.WARNING))
    assert found["Accepted"] == ("True", "Accepted", "With a warning: spec.http[0]: it is wrong. Mend it.")


def test_an_error_of_a_part_leaves_the_rest_programmed() -> None:
    found = conditions(problem(ProblemCode.UNKNOWN_SUBSET))
    assert found["Accepted"][:2] == ("False", "UnknownSubset")
    assert found["Programmed"][0] == "True"


@pytest.mark.parametrize("code", [ProblemCode.CONFLICTING_HOSTS, ProblemCode.CONFLICTING_SERVERS])
def test_the_loser_of_a_conflict_is_told_so(code: ProblemCode) -> None:
    found = conditions(problem(code))
    assert found["Conflicted"] == ("True", str(code), "spec.http[0]: it is wrong. Mend it.")
    assert found["Accepted"][0] == "False"


@pytest.mark.parametrize(
    "code",
    [
        ProblemCode.CONFLICTING_HOSTS,
        ProblemCode.CONFLICTING_SERVERS,
        ProblemCode.HOST_NOT_ADMITTED,
        ProblemCode.INVALID_CREDENTIAL,
        ProblemCode.UNKNOWN_GATEWAY,
    ],
)
def test_what_no_sidecar_was_sent_is_not_programmed_though_all_are_up_to_date(code: ProblemCode) -> None:
    found = conditions(problem(code))
    part = "The object, or the part that the condition Accepted names, is not in force."
    assert found["Programmed"] == ("False", "NotAccepted", part)


def test_it_is_pending_until_all_have_it_and_unknown_without_any() -> None:
    found = conditions(delivery=Delivery(sidecars=3, acknowledged=1))
    assert found["Programmed"] == ("False", "Pending", "1 of 3 connected sidecars have acknowledged it.")
    assert conditions(delivery=Delivery(sidecars=0, acknowledged=0))["Programmed"][:2] == ("Unknown", "NoSidecars")


def test_a_rejection_is_told_in_envoys_words() -> None:
    rejections = tuple(
        Rejection(sidecar=f"shop/web-{n}", resource="80/a:80", words="no such cluster") for n in range(2)
    )
    found = conditions(delivery=Delivery(sidecars=3, acknowledged=3, rejections=rejections))
    assert found["Programmed"] == (
        "False",
        "Rejected",
        "2 of 3 sidecars rejected it: shop/web-0: 80/a:80: no such cluster",
    )


def test_a_rejection_elsewhere_names_pod_and_replica() -> None:
    rejection = Rejection(sidecar="shop/web-1", replica="heddle-b", resource="80/a:80", words="no such cluster")
    found = conditions(delivery=Delivery(sidecars=3, acknowledged=3, rejections=(rejection,), replicas=2))
    message = "1 of 3 sidecars rejected it: shop/web-1 (at heddle-b): 80/a:80: no such cluster"
    assert found["Programmed"] == ("False", "Rejected", message)


NAMES = ("heddle-b", "heddle-c", "heddle-d", "heddle-e")


@pytest.mark.parametrize(
    ("delivery", "said"),
    [
        (
            Delivery(sidecars=2, acknowledged=2, replicas=2, unasked=NAMES[:1]),
            (
                "Unknown",
                "ReplicasNotAsked",
                "2 of 2 connected sidecars have acknowledged it; 1 of 2 control planes could not be asked (heddle-b).",
            ),
        ),
        (
            Delivery(sidecars=0, acknowledged=0, replicas=5, unasked=NAMES),
            (
                "Unknown",
                "ReplicasNotAsked",
                "No sidecar is connected; "
                "4 of 5 control planes could not be asked (heddle-b, heddle-c, heddle-d, ...).",
            ),
        ),
        (
            Delivery(sidecars=2, acknowledged=1, replicas=2, unasked=NAMES[:1]),
            (
                "False",
                "Pending",
                "1 of 2 connected sidecars have acknowledged it; 1 of 2 control planes could not be asked (heddle-b).",
            ),
        ),
        (
            Delivery(sidecars=2, acknowledged=2, replicas=2, behind=NAMES[:1]),
            (
                "False",
                "Pending",
                "2 of 2 connected sidecars have acknowledged it; "
                "1 of 2 control planes have not read it yet (heddle-b).",
            ),
        ),
        (
            Delivery(sidecars=0, acknowledged=0, replicas=2, behind=NAMES[:1]),
            (
                "False",
                "Pending",
                "No sidecar is connected; 1 of 2 control planes have not read it yet (heddle-b).",
            ),
        ),
    ],
)
def test_what_is_not_known_of_is_never_called_acknowledged(delivery: Delivery, said: tuple[str, str, str]) -> None:
    assert conditions(delivery=delivery)["Programmed"] == said
    assert is_settled(written(NEW), build_conditions(written(NEW), (), delivery)), "once true, true for its generation"


def test_what_is_there_is_settled_and_a_change_is_not() -> None:
    there = written(NEW)
    assert is_settled(there, build_conditions(there, (), ALL))
    assert not is_settled(NEW, build_conditions(NEW, (), ALL))
    changed = replace(there, generation=4)
    assert not is_settled(changed, build_conditions(changed, (), ALL))
    worse = build_conditions(there, (problem(ProblemCode.UNKNOWN_HOST),), ALL)
    assert not is_settled(there, worse)
    assert [each.since for each in worse] == ["", SINCE, SINCE], "only what changes begins anew"


@pytest.mark.parametrize("delivery", [Delivery(sidecars=9, acknowledged=9), Delivery(sidecars=9, acknowledged=2)])
def test_sidecars_that_come_later_make_nothing_to_write(delivery: Delivery) -> None:
    there = written(NEW)
    assert is_settled(there, build_conditions(there, (), delivery))
    fresh = replace(there, generation=4)
    assert build_conditions(fresh, (), Delivery(sidecars=9, acknowledged=2))[2].reason == "Pending"


def test_nobody_elses_conditions_matter() -> None:
    there = written(NEW)
    other = Condition(type="Reconciled", status="False", reason="x")
    assert is_settled(replace(there, conditions=(other, *there.conditions)), build_conditions(there, (), ALL))


HOST = "web.shop.svc.cluster.local"
ASKER = Asker(namespace="shop", pod="web-1", service_account="web", labels={"app": "web"})


@pytest.mark.parametrize(
    ("hosts", "type_url", "name", "expected"),
    [
        ((HOST,), VIRTUAL_HOST, f"80/{HOST}:80", True),
        (("*.shop.svc.cluster.local",), VIRTUAL_HOST, f"80/{HOST}:80", True),
        (("other.shop.svc.cluster.local",), VIRTUAL_HOST, f"80/{HOST}:80", False),
        (("other.shop.svc.cluster.local",), ROUTE, "80", True),
        ((HOST,), CLUSTER, f"outbound|80||{HOST}", False),
        ((HOST,), VIRTUAL_HOST, "odd", False),
    ],
)
def test_what_a_virtual_service_is_made_into(hosts: tuple[str, ...], type_url: str, name: str, expected: bool) -> None:
    value = VirtualService(ref=REF, hosts=hosts, gateways=("mesh",), http=())
    assert concerns(value, ASKER, type_url, name, "istio-system") is expected


@pytest.mark.parametrize(
    ("type_url", "name", "expected"),
    [
        (CLUSTER, f"outbound|80|v1|{HOST}", True),
        (CLUSTER, "outbound|80||other.shop.svc.cluster.local", False),
        (CLUSTER, "inbound|80||", False),
        (CLUSTER, "odd", False),
        (LISTENER, "virtualInbound", False),
    ],
)
def test_what_a_destination_rule_is_made_into(type_url: str, name: str, expected: bool) -> None:
    value = DestinationRule(ref=REF, host=HOST, policy=TrafficPolicy(), subsets=())
    assert concerns(value, ASKER, type_url, name, "istio-system") is expected


@pytest.mark.parametrize(
    ("namespace", "selector", "expected"),
    [
        ("shop", {"app": "web"}, True),
        ("shop", {}, True),
        ("istio-system", {}, True),
        ("other", {}, False),
        ("shop", {"app": "x"}, False),
    ],
)
def test_what_a_policy_is_made_into(namespace: str, selector: dict[str, str], expected: bool) -> None:
    ref = ObjectRef(kind="AuthorizationPolicy", namespace=namespace, name="p")
    value = AuthorizationPolicy(ref=ref, selector=selector)
    assert concerns(value, ASKER, LISTENER, "virtualInbound", "istio-system") is expected
    assert not concerns(value, ASKER, LISTENER, "virtualOutbound", "istio-system")


def test_the_bucket_lets_a_burst_pass_and_then_the_rate() -> None:
    bucket = TokenBucket(per_second=2.0, burst=3)
    assert [bucket.take(10.0) for _ in range(5)] == [0.0, 0.0, 0.0, 0.5, 1.0]
    assert bucket.take(12.0) == 0.0, "what was waited for is paid"
    assert [bucket.take(100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert [bucket.take_now(200.0) for _ in range(5)] == [True, True, True, False, False]
    assert [bucket.take_now(200.4), bucket.take_now(200.6), bucket.take_now(200.6)] == [False, True, False]
    with pytest.raises(ValueError, match="positive rate"):
        TokenBucket(per_second=0, burst=1)


@pytest.mark.parametrize(
    ("namespace", "selector", "expected"),
    [
        ("shop", {"app": "web"}, True),
        ("shop", None, True),
        ("istio-system", None, True),
        ("istio-system", {"app": "web"}, False),
        ("other", None, False),
        ("shop", {"app": "x"}, False),
    ],
)
def test_what_a_sidecar_is_made_into(namespace: str, selector: dict[str, str] | None, expected: bool) -> None:
    value = Sidecar(ref=ObjectRef(kind="Sidecar", namespace=namespace, name="s"), selector=selector)
    for type_url, name in ((LISTENER, "virtualOutbound"), (ROUTE, "80"), (VIRTUAL_HOST, "80/*:80")):
        assert concerns(value, ASKER, type_url, name, "istio-system") is expected
        assert not concerns(value, replace(ASKER, kind=ProxyKind.GATEWAY), type_url, name, "istio-system")
    for type_url, name in (
        (LISTENER, "virtualInbound"),
        (VIRTUAL_HOST, f"80/{HOST}:80"),
        (CLUSTER, "BlackHoleCluster"),
    ):
        assert not concerns(value, ASKER, type_url, name, "istio-system")


def test_of_two_sidecars_the_younger_conflicts() -> None:
    lost = conditions(problem(ProblemCode.CONFLICTING_SIDECARS))
    assert [lost[each][0] for each in ("Accepted", "Conflicted", "Programmed")] == ["False", "True", "False"]
    overlap = conditions(problem(ProblemCode.CONFLICTING_SIDECARS, Severity.WARNING))
    assert [overlap[each][0] for each in ("Accepted", "Conflicted", "Programmed")] == ["True", "True", "True"]
