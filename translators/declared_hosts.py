"""What a workload says that it will call: sent ahead where everything else is learnt on demand."""

from __future__ import annotations

from model.names import VirtualHostName
from model.view import View


def declared_hosts(view: View) -> tuple[VirtualHostName, ...]:
    """The virtual hosts of all destinations that the asker's workload declares, sorted. No kind declares any yet."""
    return ()
