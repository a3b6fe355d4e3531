"""The types of resources Heddle serves, and in what order: data, in this one place.

Source: the xDS protocol, "Eventual consistency considerations" and "Deleting resources".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from protos import type_urls


class Removal(Enum):
    """When a client is told that a resource is gone.

    AT_ONCE: with whatever else changed. LAST: once nothing that the client holds names it. NEVER: the client drops
    it by itself, with what named it; Envoy is stuck warming without a secret, and keeps the hosts of a removed
    assignment.
    """

    AT_ONCE = "at once"
    LAST = "last"
    NEVER = "never"


class Absence(Enum):
    """How a client that names a resource is told, incrementally, that there is none.

    REMOVED: in `removed_resources`. ALIAS: by the name, itself as alias, without a body (nothing else resumes a request
    that waits for a virtual host). SILENT: not at all; Envoy would open a port without its secret.
    """

    REMOVED = "removed"
    ALIAS = "alias"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """How one type is served. There is one of each.

    `scoped`: a subscription may be to everything in scope, without names. `complete`: a state-of-the-world
    response holds all resources, and one left out is gone. `routes`: it may name clusters, so that it waits until
    the client has them. `half_made`: what a client refuses that it did not have before is removed from it, for of some
    it has a part, and the next time takes the very same for known (Envoy 1.40).
    """

    type_url: str
    scoped: bool = False
    complete: bool = False
    routes: bool = False
    half_made: bool = False
    removal: Removal = Removal.AT_ONCE
    absence: Absence = Absence.REMOVED


CLUSTER = Kind(type_url=type_urls.CLUSTER, scoped=True, complete=True, removal=Removal.LAST, half_made=True)
ENDPOINT = Kind(type_url=type_urls.ENDPOINT, removal=Removal.NEVER)
SECRET = Kind(type_url=type_urls.SECRET, removal=Removal.NEVER, absence=Absence.SILENT)
LISTENER = Kind(type_url=type_urls.LISTENER, scoped=True, complete=True, routes=True)
ROUTE = Kind(type_url=type_urls.ROUTE, routes=True, removal=Removal.LAST)
VIRTUAL_HOST = Kind(type_url=type_urls.VIRTUAL_HOST, scoped=True, routes=True, absence=Absence.ALIAS)

PUSH_ORDER = (SECRET, CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST)
"""Make before break: a resource is sent before what names it."""

REMOVAL_ORDER = (ROUTE, CLUSTER)
"""What is removed after everything of PUSH_ORDER has been acknowledged."""

KINDS = {kind.type_url: kind for kind in PUSH_ORDER}
