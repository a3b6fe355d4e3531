"""What is odd about one object that is about to be written, beside those that are in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from model.problems import Problem
from sources.assemble import Assembly, assemble
from sources.checks import CHECKS
from sources.inventory import Inventory
from sources.kinds import Object
from sources.rules import clash_problem

_FIELDS: Final[Mapping[str, str]] = {
    "VirtualService": "virtual_services",
    "DestinationRule": "destination_rules",
    "Gateway": "gateways",
    "Sidecar": "sidecars",
    "PeerAuthentication": "peer_authentications",
    "AuthorizationPolicy": "authorization_policies",
}
"""Where objects of a kind are in `assemble.Inputs`."""


def find_beside(entry: Object, present: Assembly, inventory: Inventory) -> Iterator[Problem]:
    """The problems of `entry` as they would be if it were in force, found one by one; none of other kinds.

    `inventory` may be of a moment before `present`: it says which pods and accounts there are, and what was meant.
    """
    field = _FIELDS.get(entry.ref.kind)
    if field is None:
        return
    held = getattr(present.inputs, field)
    name = (entry.ref.namespace, entry.ref.name)
    changed: dict[str, Any] = {field: {**held, name: entry.value}}
    trial = assemble(replace(present.inputs, **changed), present)
    seen = inventory.beside(trial.mesh, entry.ref.namespace)
    yield from (clash_problem(clash) for clash in trial.clashes if clash.loser == entry.ref)
    for check in CHECKS:
        yield from check(entry, seen)
