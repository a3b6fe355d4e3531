"""Random histories of a mesh, each about a few of the questions that a view asks of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

from model.mesh import Mesh
from sources.store import Store
from tests.protocol.changing_mesh import MATTERING, File, among, captured_pods


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the mesh begins with, and what happens to it: each change is some files at once, None for one that goes."""

    managed_slices: bool
    beginning: tuple[File, ...]
    changes: tuple[Mapping[str, str | None], ...]

    def begin(self) -> Store:
        """The mesh before the first change."""
        store = Store(managed_slices=self.managed_slices)
        store.replace_files({name: text.encode() for name, text in self.beginning})
        return store

    def meshes(self, store: Store) -> Iterator[Mesh]:
        """The mesh after each change that makes it another."""
        for change in self.changes:
            before = store.mesh
            store.replace_files({name: None if text is None else text.encode() for name, text in change.items()})
            if store.mesh is not before:
                yield store.mesh


@dataclass(frozen=True, slots=True, kw_only=True)
class Focus:
    """Histories in which the answers to `questions` change often, while much else stays as it is: that a change was
    missed is seen only by whoever has no other reason to look again.

    `there` exists before the changes begin, beside Services and Pods; `changing` then comes, goes and changes.
    """

    name: str
    there: tuple[st.SearchStrategy[File], ...] = ()
    changing: tuple[st.SearchStrategy[File], ...]
    questions: tuple[str, ...] = ()
    managed_slices: st.SearchStrategy[bool] = field(default_factory=lambda: st.just(value=False))

    @property
    def histories(self) -> st.SearchStrategy[History]:
        """Sixteen changes each, of one file or two, of which some change nothing."""
        changes = st.lists(
            st.tuples(st.one_of(*self.changing), among((True, True, True, False))), min_size=1, max_size=2
        )
        return st.builds(
            lambda managed_slices, beginning, changes: History(
                managed_slices=managed_slices,
                beginning=tuple(beginning),
                changes=tuple({name: text if stays else None for (name, text), stays in each} for each in changes),
            ),
            self.managed_slices,
            st.lists(st.one_of(SERVICES, PODS, *self.there), min_size=30, max_size=30),
            st.lists(changes, min_size=16, max_size=16),
        )


SERVICES, PODS, GATEWAYS = MATTERING["Service"], MATTERING["Pod"], MATTERING["Gateway"]
SIDECARS, ROUTES = MATTERING["Sidecar"], MATTERING["VirtualService"]
SLICES = (MATTERING["EndpointSlice"], MATTERING["StatefulSet"])
EVERYTHING = Focus(
    name="everything",
    there=tuple(MATTERING.values()),
    changing=tuple(MATTERING.values()),
    managed_slices=st.booleans(),
)
FOCUSES = (
    EVERYTHING,
    Focus(
        name="workloads",
        changing=(SERVICES, PODS),
        questions=("services", "hosts", "ports", "hosts_on_port", "host_at", "inbound_ports", "identities"),
    ),
    Focus(name="capture", there=(captured_pods,), changing=(captured_pods,), questions=("uncaptured_ports",)),
    Focus(
        name="endpoints",
        there=SLICES,
        changing=(SERVICES, PODS, *SLICES),
        questions=("endpoints",),
        managed_slices=st.booleans(),
    ),
    Focus(
        name="policies",
        there=(MATTERING["DestinationRule"],),
        changing=tuple(
            MATTERING[kind] for kind in ("DestinationRule", "PeerAuthentication", "AuthorizationPolicy", "ConfigMap")
        ),
        questions=("destination_rules", "peer_authentications", "authorization_policies", "settings"),
    ),
    Focus(name="routes", there=(ROUTES,), changing=(ROUTES,), questions=("virtual_services", "foreign_hosts")),
    Focus(
        name="gateways",
        there=(GATEWAYS, ROUTES),
        changing=(GATEWAYS, MATTERING["Secret"]),
        questions=("gateways", "credentials"),
    ),
    Focus(
        name="routes of gateways",
        there=(GATEWAYS, ROUTES),
        changing=(ROUTES,),
        questions=("gateway_hosts", "gateway_routes"),
    ),
    Focus(name="entrance", there=(GATEWAYS,), changing=(SERVICES, PODS), questions=("gateway_ports",)),
    Focus(name="sidecars", changing=(SIDECARS,), questions=("sidecars", "sidecar_choices", "has_sidecars")),
    Focus(name="scope", there=(SIDECARS,), changing=(SERVICES,), questions=("hosts_in",)),
    Focus(
        name="routes in scope",
        there=(SIDECARS,),
        changing=(ROUTES,),
        questions=("routed_in", "routed_hosts", "routes_to"),
    ),
)
