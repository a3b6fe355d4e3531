"""Mistakes that only show when objects are seen together. Each object is right by itself: its parser has said so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from model.mesh import Mesh
from model.problems import ObjectRef, Problem
from sources.check_destinations import check_destination_rule
from sources.check_gateway_ports import check_gateway_ports
from sources.check_gateways import check_gateway, check_gateways_of_routes
from sources.check_policies import check_authorization_policy, check_peer_authentication
from sources.check_routes import check_virtual_service
from sources.check_services import check_service
from sources.check_sidecars import check_sidecar
from sources.check_workloads import check_workload
from sources.inventory import Inventory
from sources.kinds import Object

Check: TypeAlias = Callable[[Object, Inventory], Iterator[Problem]]

CHECKS: tuple[Check, ...] = (
    check_virtual_service,
    check_gateways_of_routes,
    check_gateway_ports,
    check_gateway,
    check_destination_rule,
    check_sidecar,
    check_peer_authentication,
    check_authorization_policy,
    check_service,
    check_workload,
)
"""Each answers nothing for a value of a kind that is not its own."""


def check_mesh(mesh: Mesh, objects: Mapping[ObjectRef, Object], now: datetime | None = None) -> tuple[Problem, ...]:
    """What is wrong between `objects`, of which `mesh` was made; each problem with its object and place.

    `objects` as `Store.objects` has them; the answer is in their order. `now` is for what ends at some time, None to
    leave that out. Two DestinationRules that define one subset are found where they are merged, in `sources.rules`.
    """
    listed = tuple(objects.values())
    inventory = Inventory(mesh, listed, now)
    return tuple(
        replace(problem, object=entry.ref, position=entry.where(problem.field))
        for entry in listed
        for check in CHECKS
        for problem in check(entry, inventory)
    )
