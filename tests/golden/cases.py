"""A golden case: manifests, who asks, and what is looked at.

The first document of an input says the latter two, and which errors the manifests have, if any:

    ask: {namespace: shop, pod: frontend-1}          # a Pod of the manifests, or labels of its own
    show:
      - cluster/outbound|80||users.shop.svc.cluster.local
      - cluster/*                                    # the names of all clusters
      - listener/virtualInbound#chains               # what each filter chain matches and where it leads
      - listener/virtualInbound#8080.mtls.http       # one filter chain
      - listener/virtualInbound#rbac:8080.mtls.http  # its RBAC rules alone
    errors: [HalfAppliedPolicy]                      # the codes of all errors in the manifests, sorted
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import betterproto2
import yaml
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener
from envoy_data_plane.google.protobuf import Any

from model.asker import Asker, Capture
from model.mesh import Mesh
from model.pods import ProxyKind
from model.view import View, view_of
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST
from sources.store import Store
from tests.golden.message_values import Plain, to_plain
from translators.resources import derive, names_in_scope

TYPES = {
    "cluster": CLUSTER,
    "endpoint": ENDPOINT,
    "listener": LISTENER,
    "route": ROUTE,
    "virtual_host": VIRTUAL_HOST,
}
SEPARATOR = "\n---\n"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""Both write and read as their like in Python do, ten times as fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One `.in.yaml`. `documents` are the manifests as text, one each."""

    name: str
    ask: Mapping[str, object]
    show: tuple[str, ...]
    errors: tuple[str, ...]
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a case gives: the text of its `.out.yaml`, and every resource behind it whole."""

    text: str
    resources: tuple[betterproto2.Message, ...]


def read_case(path: Path) -> Case:
    """Raises KeyError if the first document does not say what to show."""
    header, *documents = path.read_text().split(SEPARATOR)
    said = yaml.load(header, _LOADER)
    name = f"{path.parent.name}/{path.name.removesuffix('.in.yaml')}"
    return Case(
        name=name,
        ask=said.get("ask", {}),
        show=tuple(said["show"]),
        errors=tuple(said.get("errors", ())),
        documents=tuple(documents),
    )


@cache
def outcome_of(path: Path) -> Outcome:
    """What the case gives as it is written, made once for all tests that compare with it."""
    return run_case(read_case(path))


def run_case(case: Case, *, shuffle: random.Random | None = None) -> Outcome:
    """Everything from the manifests to the messages. Raises AssertionError if they have other errors than announced."""
    documents = list(case.documents)
    if shuffle is not None:
        shuffle.shuffle(documents)
    store = Store()
    store.replace_file("case.yaml", SEPARATOR.join(documents).encode())
    errors = [problem for problem in store.problems if problem.severity == "error"]
    assert sorted(problem.code for problem in errors) == list(case.errors), "\n".join(map(str, errors))
    view = view_of(store.mesh, asker_of(case.ask, store.mesh))
    shown, resources = {}, []
    for wanted in case.show:
        kind, _, rest = wanted.partition("/")
        name, _, part = rest.partition("#")
        if name == "*":
            shown[wanted] = cast(Plain, sorted(names_in_scope(TYPES[kind], view)))
            resources += _all(TYPES[kind], view)
            continue
        resource = derive(TYPES[kind], name, view)
        if resource is not None:
            resources.append(resource)
        shown[wanted] = _part(resource, part) if resource is not None else "none"
    text = yaml.dump(shown, Dumper=_DUMPER, sort_keys=False, width=120, default_flow_style=False)
    return Outcome(text=text, resources=tuple(resources))


def asker_of(ask: Mapping[str, object], mesh: Mesh) -> Asker:
    namespace, name = str(ask.get("namespace", "shop")), str(ask.get("pod", "caller"))
    pod = mesh.pods.get((namespace, name))
    labels = cast(Mapping[str, str], ask.get("labels", {}))
    return Asker(
        namespace=namespace,
        pod=name,
        service_account=pod.service_account if pod else "default",
        kind=pod.proxy if pod else ProxyKind.SIDECAR,
        labels=pod.labels if pod else labels,
        address=pod.addresses[0] if pod else "10.9.9.9",
        capture=Capture(ask.get("capture", "redirect")),
        application_address="127.0.0.1",
        vhds=bool(ask.get("vhds", ask.get("on_demand", False))),
        on_demand=bool(ask.get("on_demand", False)),
    )


def _all(type_url: str, view: View) -> Iterator[betterproto2.Message]:
    for name in sorted(names_in_scope(type_url, view)):
        resource = derive(type_url, name, view)
        assert resource is not None, f"{name} is in scope and does not exist"
        yield resource


def _part(resource: betterproto2.Message, part: str) -> Plain:
    if not part:
        return to_plain(resource)
    assert isinstance(resource, Listener)
    if part == "chains":
        default = [resource.default_filter_chain] if resource.default_filter_chain else []
        return {chain.name: _summary(chain) for chain in [*resource.filter_chains, *default]}
    if part in ("listener_filters", "address"):
        whole = to_plain(resource)
        assert isinstance(whole, Mapping)
        return whole.get(part)
    name = part.removeprefix("rbac:")
    chain = to_plain(next(chain for chain in resource.filter_chains if chain.name == name))
    return _rules(chain) if part.startswith("rbac:") else chain


def _summary(chain: FilterChain) -> Plain:
    """What it matches, whether it terminates TLS, and where its filters lead."""
    whole = to_plain(chain)
    assert isinstance(whole, Mapping)
    tls = ["mutual TLS"] if chain.transport_socket else []
    match = whole.get("filter_chain_match", {})
    return {"match": match, "filters": cast(list[Plain], [*tls, *map(_leads_to, chain.filters)])}


def _leads_to(filter_: betterproto2.Message) -> str:
    packed = filter_.typed_config  # type: ignore[attr-defined]
    assert isinstance(packed, Any)
    config = to_plain(packed)
    assert isinstance(config, Mapping)
    short = str(config["@type"]).rpartition(".")[2]
    target = next((str(_find(config, key)) for key in ("cluster", "route_config_name") if _find(config, key)), "")
    return f"{short} {target}".strip()


def _find(value: Plain, key: str) -> Plain:
    """The first value under `key`, however deep."""
    match value:
        case Mapping():
            if key in value:
                return value[key]
            return next((found for item in value.values() if (found := _find(item, key)) is not None), None)
        case list():
            return next((found for item in value if (found := _find(item, key)) is not None), None)
        case _:
            return None


def _rules(value: Plain) -> list[Plain]:
    """All RBAC rules within, in order."""
    match value:
        case Mapping():
            own = [value["rules"]] if "rules" in value and "Rbac" in str(value.get("@type", "")).title() else []
            return own or [rules for item in value.values() for rules in _rules(item)]
        case list():
            return [rules for item in value for rules in _rules(item)]
        case _:
            return []


def cases_in(directory: Path) -> Sequence[Path]:
    """The inputs of all cases, sorted."""
    return sorted(directory.glob("*/*.in.yaml"))
