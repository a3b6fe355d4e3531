"""Sidecar."""

from __future__ import annotations

from model.settings import OutboundTraffic
from sources.hosts import MAX_HOST, MAX_LABEL
from sources.istio_sidecar import KIND, MAX_EGRESS, MAX_HOSTS
from sources.istio_sidecar_listeners import CAPTURE_MODES, MAX_INGRESS
from sources.schemas.definition import Column, Definition
from sources.schemas.gateway import server_tls
from sources.schemas.parts import Schema, by_key, choice, integer, items, kept_record, or_null, record, text, unbuilt
from sources.schemas.shared import LABEL, NAME, port, port_selector
from sources.schemas.traffic_policy import connection_pool

_DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_OWNER = f"(~?([*.]|{_DNS_LABEL})|~)"
_HOST = rf"^{_OWNER}/(\*|\*\.{NAME}|{LABEL}(\.{LABEL})+)$"
_SAYS_SOMETHING = (
    "(has(self.egress) && self.egress.size() > 0) || (has(self.ingress) && self.ingress.size() > 0) || "
    "has(self.outboundTrafficPolicy) || has(self.inboundConnectionPool)",
    "a Sidecar says something of egress, ingress, outboundTrafficPolicy or inboundConnectionPool",
)


def _spec() -> Schema:
    """What is misspelt must not get lost: without its selector, or its hosts, an object means something else."""
    selector = kept_record({"labels": by_key(or_null(text(most=MAX_LABEL)))})
    hosts = items(text(least=3, most=MAX_HOST + MAX_LABEL + 2, pattern=_HOST), least=1, most=MAX_HOSTS)
    egress = kept_record(
        {"port": _port(0), "bind": unbuilt(text()), "captureMode": choice(CAPTURE_MODES), "hosts": hosts},
        required=["hosts"],
    )
    ingress = record(
        {
            "port": _port(1),
            "bind": text(),
            "captureMode": choice(CAPTURE_MODES),
            "defaultEndpoint": text(),
            "tls": server_tls(),
            "connectionPool": connection_pool(),
        },
        required=["port"],
    )
    proxy = record({"host": text(least=1), "subset": text(), "port": port_selector()}, required=["host"])
    return kept_record(
        {
            "workloadSelector": selector,
            "egress": items(egress, most=MAX_EGRESS),
            "ingress": unbuilt(items(ingress, most=MAX_INGRESS)),
            "inboundConnectionPool": unbuilt(connection_pool()),
            "outboundTrafficPolicy": kept_record({"mode": choice(OutboundTraffic), "egressProxy": unbuilt(proxy)}),
        },
        rules=[_SAYS_SOMETHING],
    )


def _port(least: int) -> Schema:
    number = port() if least else integer(0, 65535)
    name = text(most=MAX_LABEL, pattern=f"^({_DNS_LABEL})?$")
    return record({"number": number, "protocol": text(), "name": name, "targetPort": integer(0, 0)})


DEFINITION = Definition(
    group=KIND.group,
    versions=KIND.versions,
    kind=KIND.kind,
    plural="sidecars",
    short="",
    description="What workloads may call, and what their sidecars are sent.",
    spec=_spec(),
    columns=(
        Column(name="Selector", path=".spec.workloadSelector.labels", description="Whom it is for.", wide=True),
        Column(name="Outbound", path=".spec.outboundTrafficPolicy.mode", description="What becomes of the rest."),
    ),
)
