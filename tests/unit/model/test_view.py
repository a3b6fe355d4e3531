"""What a view finds, and that what it records is the whole reason for what it found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.asker import Asker
from model.host_patterns import patterns
from model.mesh import Mesh
from model.problems import ObjectRef
from model.recorded_reads import still_holds
from model.routing import DirectResponse, HttpRoute, VirtualService
from model.services import Service
from model.settings import MeshSettings
from model.traffic import DestinationRule
from model.view import view_of

USERS = "users.shop.svc.cluster.local"
CALLER = Asker(namespace="shop", pod="a", service_account="default")


def service(name: str, namespace: str = "shop") -> Service:
    return Service(ref=ObjectRef(kind="Service", namespace=namespace, name=name))


def virtual_service(name: str, namespace: str, host: str, export_to: tuple[str, ...] = ()) -> VirtualService:
    return VirtualService(
        ref=ObjectRef(kind="VirtualService", namespace=namespace, name=name),
        hosts=(host,),
        http=(HttpRoute(action=DirectResponse(status=200)),),
        export_to=export_to,
    )


def rule(name: str, namespace: str, host: str, export_to: tuple[str, ...] = ()) -> DestinationRule:
    return DestinationRule(
        ref=ObjectRef(kind="DestinationRule", namespace=namespace, name=name), host=host, export_to=export_to
    )


def mesh(*objects: Service | VirtualService | DestinationRule) -> Mesh:
    services, routes, rules = {}, {}, {}
    for thing in objects:
        match thing:
            case Service():
                services[thing.host] = thing
            case VirtualService():
                routes[thing.hosts[0]] = (*routes.get(thing.hosts[0], ()), thing)
            case DestinationRule():
                rules[thing.host] = (*rules.get(thing.host, ()), thing)
    return Mesh(services=services, virtual_services=routes, destination_rules=rules)


def test_patterns_go_from_the_host_itself_to_everything() -> None:
    assert tuple(patterns("a.b.c")) == ("a.b.c", "*.b.c", "*.c", "*")
    assert tuple(patterns("*.b.c")) == ("*.b.c", "*.c", "*")
    assert tuple(patterns("*")) == ("*",)


def test_the_exact_host_beats_a_wildcard() -> None:
    exact, wide = virtual_service("a", "shop", USERS), virtual_service("b", "shop", "*.shop.svc.cluster.local")
    view = view_of(mesh(service("users"), wide, exact), CALLER)
    assert view.virtual_service(USERS) is exact
    assert view.virtual_service("orders.shop.svc.cluster.local") is wide


def test_the_oldest_wins() -> None:
    first, second = virtual_service("a", "shop", USERS), virtual_service("b", "shop", USERS)
    assert view_of(mesh(service("users"), first, second), CALLER).virtual_service(USERS) is first


@pytest.mark.parametrize(("caller", "found"), [("shop", True), ("thief", True), ("bystander", False)])
def test_a_namespace_routes_anothers_hosts_for_itself_only(caller: str, found: bool) -> None:
    stolen = virtual_service("a", "thief", "payments.bank.svc.cluster.local")
    mine = virtual_service("b", "shop", USERS)
    snapshot = mesh(service("users"), service("payments", "bank"), stolen, mine)
    view = view_of(snapshot, replace(CALLER, namespace=caller))
    assert view.virtual_service(USERS) is mine
    assert (view.virtual_service("payments.bank.svc.cluster.local") is stolen) == (caller == "thief")


@pytest.mark.parametrize(
    ("export_to", "caller", "seen"),
    [
        ((), "other", True),
        (("*",), "other", True),
        ((".",), "other", False),
        ((".",), "shop", True),
        (("other",), "other", True),
    ],
)
def test_export_to(export_to: tuple[str, ...], caller: str, seen: bool) -> None:
    snapshot = mesh(
        service("users"), virtual_service("a", "shop", USERS, export_to), rule("r", "shop", USERS, export_to)
    )
    view = view_of(snapshot, replace(CALLER, namespace=caller))
    assert (view.virtual_service(USERS) is not None) == seen
    assert (view.destination_rule(USERS) is not None) == seen


def test_destination_rules_of_the_callers_namespace_come_first() -> None:
    own, callers, root = (
        rule("a", "shop", USERS),
        rule("b", "web", "*.shop.svc.cluster.local"),
        rule("c", "istio-system", "*"),
    )
    snapshot = mesh(own, callers, root)
    assert view_of(snapshot, replace(CALLER, namespace="web")).destination_rule(USERS) is callers
    assert view_of(snapshot, replace(CALLER, namespace="else")).destination_rule(USERS) is own
    assert view_of(snapshot, CALLER).destination_rule("x.y.svc.cluster.local") is root


def test_reads_hold_until_an_answer_changes() -> None:
    before = mesh(service("users"), virtual_service("a", "shop", USERS))
    view = view_of(before, CALLER)
    view.virtual_service(USERS)
    assert still_holds(view.reads, before, CALLER)
    assert still_holds(view.reads, replace(before, services={**before.services, "x": service("x")}), CALLER)
    assert not still_holds(view.reads, replace(before, virtual_services={}), CALLER)
    assert not still_holds(view.reads, before, replace(CALLER, namespace="other"))
    assert not still_holds(view.reads, replace(before, settings=MeshSettings(root_namespace="root")), CALLER)


def test_labels_matter_only_to_who_read_them() -> None:
    snapshot = mesh(service("users"))
    indifferent, curious = view_of(snapshot, CALLER), view_of(snapshot, CALLER)
    indifferent.service(USERS)
    assert curious.labels == {}
    relabelled = replace(CALLER, labels={"version": "v2"})
    assert still_holds(indifferent.reads, snapshot, relabelled)
    assert not still_holds(curious.reads, snapshot, relabelled)
