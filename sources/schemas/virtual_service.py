"""VirtualService."""

from __future__ import annotations

from sources.bounded import MAX_COUNT
from sources.istio_virtual_service import KIND, MAX_HOSTS, MAX_HTTP_ROUTES
from sources.schemas.definition import Column, Definition
from sources.schemas.http_route import destination, http_route
from sources.schemas.parts import Schema, integer, items, record, some_of, text, unbuilt
from sources.schemas.shared import export_to, host_pattern, labels, port


def _spec() -> Schema:
    return record(
        {
            "hosts": items(host_pattern(), least=1, most=MAX_HOSTS),
            "gateways": items(text()),
            "http": items(http_route(), most=MAX_HTTP_ROUTES),
            "tls": unbuilt(items(_level_4("sniHosts", {"sniHosts": items(text())}, needed=True))),
            "tcp": unbuilt(items(_level_4("", {"sourceSubnet": text()}, needed=False))),
            "exportTo": export_to(),
        },
        required=["hosts"],
        rules=[some_of("http", "tls", "tcp")],
    )


def _level_4(required: str, also: dict[str, Schema], *, needed: bool) -> Schema:
    match = record(
        {
            **also,
            "destinationSubnets": items(text()),
            "port": port(),
            "sourceLabels": labels(),
            "gateways": items(text()),
            "sourceNamespace": text(),
        },
        required=[required] if required else (),
    )
    route = record({"destination": destination(), "weight": integer(0, MAX_COUNT)}, required=["destination"])
    return record({"match": items(match), "route": items(route)}, required=["match"] if needed else ())


DEFINITION = Definition(
    group=KIND.group,
    versions=KIND.versions,
    kind=KIND.kind,
    plural="virtualservices",
    short="vs",
    description="How requests for a host are routed.",
    spec=_spec(),
    columns=(
        Column(name="Gateways", path=".spec.gateways", description="Where the routes hold; none: in every sidecar."),
        Column(name="Hosts", path=".spec.hosts", description="The hosts that are routed."),
        Column(
            name="Accepted",
            path='.status.conditions[?(@.type=="Accepted")].status',
            description="Whether Heddle uses the object.",
            wide=True,
        ),
    ),
)
