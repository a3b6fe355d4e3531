"""Which sidecars learn their destinations on demand: as the setting or the pod says; else those that have many."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from model.asker import Asker
from model.mesh import Mesh
from model.on_demand import SidecarConfig, parse_sidecar_config
from translators.resources import HOSTS
from xds.memo import Memo
from xds.read_memo import KnownAsker

MANY, FEW = 100, 75
"""Services in scope from which on a sidecar learns on demand, and below which it no longer does. At 70 KB a cluster a
hundred are 7 MB, about what Envoy needs for itself: below that there is little to win, and eager sidecars reach what
they never called while the control plane is away. In between a stream stays as it is: a change costs a reconnect."""


class SidecarModes:
    """Decides for the pods of the present snapshot. A pod's annotation counts more than the setting, unless it is no
    word for it."""

    def __init__(self, setting: SidecarConfig, *, mesh: Callable[[], Mesh], memo: Memo) -> None:
        self._setting = setting
        self._mesh = mesh
        self._memo = memo

    def on_demand(self, asker: Asker, before: bool | None) -> bool:
        """Whether this sidecar is to learn on demand; `before`: whether its stream does already, None: it is new."""
        match self._said(asker):
            case SidecarConfig.ON_DEMAND:
                return True
            case SidecarConfig.EAGER:
                return False
            case SidecarConfig.AUTO:
                services = len(self._memo.scope(HOSTS, KnownAsker(asker)).members)
                return services >= (FEW if before else MANY)
            case unknown:
                assert_never(unknown)

    def _said(self, asker: Asker) -> SidecarConfig:
        pod = self._mesh().pods.get((asker.namespace, asker.pod))
        try:
            said = parse_sidecar_config(pod.annotations) if pod is not None else None
        except ValueError:  # a finding says so
            said = None
        return said or self._setting
