"""The one function that derives everything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.asker import Asker, Capture
from model.services import Protocol
from model.view import view_of
from protos.encoder import encode, type_url
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST
from tests.envoy_validation import refusal
from tests.unit.translators.outbound_meshes import endpoint, mesh, rule, service
from translators.resources import derive, names_in_scope

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST)
SHOP = mesh(
    [
        service("users", (80, Protocol.HTTP), (9000, Protocol.DETECT), addresses=("10.1.0.1",)),
        service("db", (5432, Protocol.TCP), addresses=("10.1.0.2",)),
    ],
    endpoints={"users.shop.svc.cluster.local": (endpoint("10.2.0.1", 80, 9000),)},
    rules=[rule("users.shop.svc.cluster.local", "v1")],
)
CALLER = Asker(namespace="shop", pod="caller", service_account="caller", address="127.1.0.2")
ASKERS = (CALLER, replace(CALLER, vhds=False), replace(CALLER, capture=Capture.EXPLICIT), replace(CALLER, ipv6=False))


@pytest.mark.parametrize("asker", ASKERS)
def test_every_name_in_scope_exists_and_envoy_takes_it(asker: Asker) -> None:
    view = view_of(SHOP, asker)
    resources = []
    for kind in TYPES:
        for name in sorted(names_in_scope(kind, view)):
            resource = derive(kind, name, view)
            assert resource is not None, name
            assert type_url(type(resource)) == kind
            resources.append(resource)
    assert refusal(resources) is None


@pytest.mark.parametrize("kind", TYPES)
def test_the_same_bytes_every_time(kind: str) -> None:
    for name in names_in_scope(kind, view_of(SHOP, CALLER)):
        first, second = (derive(kind, name, view_of(SHOP, CALLER)) for _ in range(2))
        assert first is not None
        assert second is not None
        assert encode(first) == encode(second)


NAMES = st.one_of(
    st.text(max_size=30),
    st.lists(st.sampled_from(["outbound", "inbound", "|", ":", "/", "80", "0", "x", "*", "virtualInbound"])).map(
        "".join
    ),
)


@given(st.sampled_from(TYPES), NAMES, st.sampled_from(ASKERS))
def test_names_that_mean_nothing_give_nothing(kind: str, name: str, asker: Asker) -> None:
    view = view_of(SHOP, asker)
    if derive(kind, name, view) is None:
        assert name not in names_in_scope(kind, view)


def test_other_types_are_not_ours() -> None:
    assert derive(SECRET, "default", view_of(SHOP, CALLER)) is None
    assert names_in_scope("nonsense", view_of(SHOP, CALLER)) == frozenset()
