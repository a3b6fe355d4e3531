"""Which sidecars learn on demand: the pod's word, then the setting's, then how many services there are."""

from __future__ import annotations

import pytest

from heddle.sidecar_modes import FEW, MANY, SidecarModes
from model.asker import Asker
from model.mesh import Mesh
from model.on_demand import SIDECAR_CONFIG, SidecarConfig
from model.pods import Pod
from model.problems import ObjectRef
from model.services import Service
from translators.resources import derive, names_in_scope
from xds.memo import Memo

ASKER = Asker(namespace="n", pod="p", service_account="s")


def modes(setting: SidecarConfig, services: int, annotation: str | None = None) -> SidecarModes:
    annotations = {} if annotation is None else {SIDECAR_CONFIG: annotation}
    pod = Pod(ref=ObjectRef(kind="Pod", namespace="n", name="p"), annotations=annotations)
    mesh = Mesh(
        services={
            f"s{number:03}": Service(ref=ObjectRef(kind="Service", name=f"s{number:03}")) for number in range(services)
        },
        pods={("n", "p"): pod},
    )
    memo = Memo(derive=derive, names=names_in_scope, report=lambda failed: None, mesh=mesh)
    return SidecarModes(setting, mesh=lambda: mesh, memo=memo)


@pytest.mark.parametrize(
    ("services", "before", "expected"),
    [
        (MANY - 1, None, False),
        (MANY, None, True),
        (MANY - 1, False, False),
        (MANY, False, True),
        (FEW, True, True),
        (FEW - 1, True, False),
    ],
)
def test_by_itself_it_goes_by_the_number_of_services_and_does_not_waver(
    services: int, before: bool | None, expected: bool
) -> None:
    assert modes(SidecarConfig.AUTO, services).on_demand(ASKER, before) is expected


@pytest.mark.parametrize("before", [None, True, False])
def test_the_setting_and_above_it_the_pod_have_the_last_word(before: bool | None) -> None:
    assert modes(SidecarConfig.ON_DEMAND, 0).on_demand(ASKER, before)
    assert not modes(SidecarConfig.EAGER, MANY).on_demand(ASKER, before)
    assert modes(SidecarConfig.EAGER, 0, "on-demand").on_demand(ASKER, before)
    assert not modes(SidecarConfig.ON_DEMAND, 0, "eager").on_demand(ASKER, before)
    assert modes(SidecarConfig.EAGER, MANY, "auto").on_demand(ASKER, before)


def test_a_word_that_is_none_leaves_the_setting() -> None:
    assert modes(SidecarConfig.ON_DEMAND, 0, "lazy").on_demand(ASKER, None)
    assert not modes(SidecarConfig.EAGER, MANY, "").on_demand(ASKER, None)
