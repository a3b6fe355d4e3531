"""Istio's PeerAuthentication."""

from __future__ import annotations

from model.policies import MtlsMode, PeerAuthentication
from model.problem_codes import ProblemCode
from sources.bounded import MAX_PORT
from sources.fields import Fields
from sources.kinds import Kind, Metadata
from sources.labels import parse_selector

UNSET = "UNSET"


def parse_peer_authentication(fields: Fields, metadata: Metadata) -> PeerAuthentication | None:
    """The object's value, None after an error. Without `spec` it says nothing, and everything is inherited."""
    spec = fields.child("spec")
    if spec is None:
        return None if fields.report.failed else PeerAuthentication(ref=metadata.ref, created=metadata.created)
    selector = parse_selector(spec)
    mtls = spec.child("mtls")
    mode = None
    if mtls is not None:
        mode = _mode(mtls)
        mtls.finish()
    ports = _ports(spec)
    if ports and not selector:
        fix = "Add selector.matchLabels: ports are those of certain workloads."
        spec.problem(ProblemCode.MISSING_FIELD, "portLevelMtls needs a selector", fix, field="portLevelMtls")
    spec.finish()
    if spec.report.failed:
        return None
    return PeerAuthentication(
        ref=metadata.ref, selector=selector, mode=mode, port_modes=dict(sorted(ports.items())), created=metadata.created
    )


def _ports(spec: Fields) -> dict[int, MtlsMode | None]:
    found: dict[int, MtlsMode | None] = {}
    outer = spec.child("portLevelMtls")
    for key, entry in spec.entries("portLevelMtls"):
        mode = _mode(entry)
        entry.finish()
        if key.isascii() and key.isdigit() and len(key) <= 5 and 1 <= int(key) <= MAX_PORT:
            found[int(key)] = mode
        elif outer is not None:
            message = f"{key[:80]!r} is no port of a workload"
            outer.problem(ProblemCode.INVALID_VALUE, message, "Use a number, 1 to 65535.", field=key)
    return found


def _mode(fields: Fields) -> MtlsMode | None:
    text = fields.choice("mode", (UNSET, *MtlsMode))
    return MtlsMode(text) if text and text != UNSET else None


KIND = Kind(
    group="security.istio.io",
    versions=("v1", "v1beta1"),
    kind="PeerAuthentication",
    parse=parse_peer_authentication,
)
