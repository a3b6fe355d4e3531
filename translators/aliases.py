"""ExternalName services that point back into the mesh."""

from __future__ import annotations

from model.services import Resolution, Service
from model.view import View


def aliased(service: Service, view: View) -> Service:
    """The service whose endpoints answer for `service`: itself, or the one that its external name names.

    An alias of an alias is not followed further: its name is then left to DNS.
    """
    if service.resolution is not Resolution.EXTERNAL_NAME:
        return service
    target = view.any_service(service.external_name.lower().removesuffix("."))
    if target is None or target.resolution is Resolution.EXTERNAL_NAME:
        return service
    return target
