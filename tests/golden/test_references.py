"""R45: a snapshot is whole. Whatever one of its resources refers to is a resource of it, for every golden case."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from model.names import BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER
from model.view import View
from protos import type_urls
from sources.store import Store
from tests.golden.cases import SEPARATOR, asker_of, cases_in, read_case, view_of
from tests.golden.message_values import Plain, to_plain
from translators.resources import derive, names_in_scope

HERE = Path(__file__).parent
STATIC = {BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER, "InboundPassthroughCluster"}


def values_of(value: Plain, key: str) -> Iterator[str]:
    """Every text under `key`, however deep."""
    match value:
        case Mapping():
            for name, member in value.items():
                if name == key and isinstance(member, str):
                    yield member
                yield from values_of(member, key)
        case list():
            for member in value:
                yield from values_of(member, key)
        case _:
            pass


def everything(type_url: str, view: View) -> dict[str, Plain]:
    derived = {name: derive(type_url, name, view) for name in sorted(names_in_scope(type_url, view))}
    assert None not in derived.values()
    return {name: to_plain(resource) for name, resource in derived.items() if resource is not None}


@pytest.mark.parametrize("path", cases_in(HERE), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_r45_every_reference_leads_to_a_resource_of_the_snapshot(path: Path) -> None:
    case = read_case(path)
    store = Store()
    store.replace_file("case.yaml", SEPARATOR.join(case.documents).encode())
    view = view_of(store.mesh, asker_of(case.ask, store.mesh))
    clusters = everything(type_urls.CLUSTER, view)
    for name, cluster in clusters.items():
        assert isinstance(cluster, Mapping)
        if cluster.get("type") == "EDS":
            source = cluster["eds_cluster_config"]
            assert isinstance(source, Mapping)
            assert derive(type_urls.ENDPOINT, str(source.get("service_name", name)), view) is not None, name
    tables = {
        name
        for listener in everything(type_urls.LISTENER, view).values()
        for name in values_of(listener, "route_config_name")
    }
    routes = [derive(type_urls.ROUTE, table, view) for table in sorted(tables)]
    assert None not in routes, tables
    hosts = everything(type_urls.VIRTUAL_HOST, view)
    known = clusters.keys() | STATIC
    for where in [*hosts.values(), *(to_plain(route) for route in routes if route is not None)]:
        for cluster_name in values_of(where, "cluster"):
            missing = cluster_name not in known
            # What a user's route names and nobody has is answered with 503, and is a finding.
            assert not missing or re.search(r"UnknownHost|UnknownSubset|UnknownPort", codes(store)), cluster_name


def codes(store: Store) -> str:
    return " ".join(problem.code for problem in store.problems)
