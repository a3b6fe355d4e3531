"""What a view needs to find the Sidecar of an asker, and what is in its scope, without looking at the whole mesh."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from model.age import age
from model.mesh import Mesh
from model.routing import MESH_GATEWAY, VirtualService
from model.services import Service
from model.sidecars import Sidecar, SidecarChoice, to_label_text
from sources.keeping import keep_equal

Name = tuple[str, str]


def index_sidecars(
    sidecars: Mapping[Name, Sidecar],
    services: Mapping[str, Service],
    routes: Iterable[VirtualService],
    last: Mesh,
) -> dict[str, object]:
    """The fields of a `Mesh` that are about Sidecars; all empty if there are none.

    `services` by host. What equals a value of `last` is that object.
    """
    placed = services.values() if sidecars else ()
    applied = [route for route in routes if MESH_GATEWAY in route.gateways] if sidecars else []
    sending = sorted(applied, key=lambda route: route.ref)
    return {
        "sidecars": keep_equal(last.sidecars, {name: sidecars[name] for name in sorted(sidecars)}),
        "sidecar_choices": keep_equal(last.sidecar_choices, index_choices(sidecars.values())),
        "hosts_in": keep_equal(last.hosts_in, _grouped((each.ref.namespace, each.host) for each in placed)),
        "routed_in": keep_equal(
            last.routed_in, _grouped((each.ref.namespace, host) for each in sending for host in each.hosts)
        ),
        "routes_to": keep_equal(last.routes_to, _by_destination(sending)),
    }


def index_choices(sidecars: Iterable[Sidecar]) -> dict[str, tuple[SidecarChoice, ...]]:
    """By namespace; those with a selector first, then the oldest first."""
    found: defaultdict[str, list[SidecarChoice]] = defaultdict(list)
    for each in sorted(sidecars, key=lambda each: (each.selector is None, age(each))):
        labels = None if each.selector is None else to_label_text(each.selector)
        found[each.ref.namespace].append(SidecarChoice(name=each.ref.name, labels=labels))
    return {namespace: tuple(found[namespace]) for namespace in sorted(found)}


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for key, value in pairs:
        found[key].add(value)
    return {key: tuple(sorted(found[key])) for key in sorted(found)}


def _by_destination(routes: Iterable[VirtualService]) -> dict[str, tuple[VirtualService, ...]]:
    found: defaultdict[str, list[VirtualService]] = defaultdict(list)
    for route in routes:
        for host in route.destinations:
            found[host].append(route)
    return {host: tuple(found[host]) for host in sorted(found)}
