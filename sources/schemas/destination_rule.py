"""DestinationRule."""

from __future__ import annotations

from sources.istio_destination_rule import KIND, MAX_SUBSETS
from sources.schemas.definition import Column, Definition
from sources.schemas.parts import Schema, items, record, text, unbuilt
from sources.schemas.shared import export_to, host_pattern, labels, selector
from sources.schemas.traffic_policy import traffic_policy


def _spec() -> Schema:
    subset = record(
        {"name": text(pattern="^[A-Za-z0-9_.-]{1,63}$"), "labels": labels(), "trafficPolicy": traffic_policy()},
        required=["name"],
    )
    return record(
        {
            "host": host_pattern(),
            "trafficPolicy": traffic_policy(),
            "subsets": items(subset, most=MAX_SUBSETS),
            "exportTo": export_to(),
            "workloadSelector": unbuilt(selector()),
        },
        required=["host"],
    )


DEFINITION = Definition(
    group=KIND.group,
    versions=KIND.versions,
    kind=KIND.kind,
    plural="destinationrules",
    short="dr",
    description="How a host is called: subsets, load balancing, connections, encryption.",
    spec=_spec(),
    columns=(
        Column(name="Host", path=".spec.host", description="The host that is called."),
        Column(
            name="Accepted",
            path='.status.conditions[?(@.type=="Accepted")].status',
            description="Whether Heddle uses the object.",
            wide=True,
        ),
    ),
)
