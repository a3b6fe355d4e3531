"""PeerAuthentication."""

from __future__ import annotations

from model.policies import MtlsMode
from sources.bounded import MAX_PORT
from sources.istio_peer_authentication import KIND, UNSET
from sources.schemas.definition import Column, Definition
from sources.schemas.parts import Schema, by_key, choice, kept_record
from sources.schemas.shared import selector

_PORTS = (
    f"self.all(key, int(key) >= 1 && int(key) <= {MAX_PORT})",
    f"the keys are ports, 1 to {MAX_PORT}",
)


def _spec() -> Schema:
    mode = kept_record({"mode": choice((UNSET, *MtlsMode))})
    return kept_record(
        {"selector": selector(), "mtls": mode, "portLevelMtls": by_key(mode, most=MAX_PORT, rules=[_PORTS])},
        rules=[
            (
                "!has(self.portLevelMtls) || self.portLevelMtls.size() == 0 || "
                "(has(self.selector) && has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0)",
                "portLevelMtls needs selector.matchLabels",
            )
        ],
    )


DEFINITION = Definition(
    group=KIND.group,
    versions=KIND.versions,
    kind=KIND.kind,
    plural="peerauthentications",
    short="pa",
    description="Whether workloads take plaintext, mutual TLS or both.",
    spec=_spec(),
    needs_spec=False,
    columns=(Column(name="Mode", path=".spec.mtls.mode", description="What the workloads take."),),
)
