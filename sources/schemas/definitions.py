"""All kinds of Istio's that Heddle brings definitions of. A kind more is a file beside this one and a line here."""

from __future__ import annotations

from sources.schemas import (
    authorization_policy,
    destination_rule,
    gateway,
    peer_authentication,
    sidecar,
    virtual_service,
)
from sources.schemas.definition import to_yaml

DEFINITIONS = (
    virtual_service.DEFINITION,
    destination_rule.DEFINITION,
    gateway.DEFINITION,
    sidecar.DEFINITION,
    peer_authentication.DEFINITION,
    authorization_policy.DEFINITION,
)


def definition_files() -> dict[str, str]:
    """The content of every file of `deploy/chart/crds`, by its name."""
    return {definition.file: to_yaml(definition) for definition in DEFINITIONS}
