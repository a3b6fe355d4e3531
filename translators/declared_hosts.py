"""What a workload says that it will call: sent ahead where everything else is learnt on demand."""

from __future__ import annotations

from model.names import VirtualHostName
from model.view import View
from translators.scope import http_ports
from translators.virtual_hosts import virtual_host_names


def declared_hosts(view: View) -> tuple[VirtualHostName, ...]:
    """The virtual hosts of all destinations that the asker's workload declares, in its Sidecar, sorted."""
    sidecar = view.sidecar
    if sidecar is None:
        return ()
    return tuple(
        name
        for port in http_ports(view)
        for name in virtual_host_names(port, view)
        if not name.host.startswith("*") and sidecar.declares(name.host, view.namespace)
    )
