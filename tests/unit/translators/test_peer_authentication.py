"""Which PeerAuthentication is in force for a workload's port."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from model.policies import MtlsMode, PeerAuthentication
from model.problems import ObjectRef
from tests.unit.translators.outbound_meshes import mesh, seen_from
from translators.peer_authentication import mtls_mode

ROOT = "istio-system"
USERS = {"app": "users", "version": "v1"}
STRICT, DISABLE, PERMISSIVE = MtlsMode.STRICT, MtlsMode.DISABLE, MtlsMode.PERMISSIVE


def peer(
    mode: MtlsMode | None,
    namespace: str = "shop",
    selector: Mapping[str, str] | None = None,
    ports: Mapping[int, MtlsMode | None] | None = None,
) -> PeerAuthentication:
    ref = ObjectRef(kind="PeerAuthentication", namespace=namespace, name="peer")
    return PeerAuthentication(ref=ref, selector=selector or {}, mode=mode, port_modes=ports or {})


@pytest.mark.parametrize(
    ("peers", "mode"),
    [
        ([], PERMISSIVE),
        ([peer(STRICT, ROOT)], STRICT),
        ([peer(STRICT, ROOT), peer(DISABLE)], DISABLE),
        ([peer(STRICT, ROOT), peer(None)], STRICT),
        ([peer(STRICT, ROOT), peer(None, selector=USERS)], STRICT),
        ([peer(DISABLE), peer(STRICT, selector={"app": "users"})], STRICT),
        ([peer(DISABLE), peer(STRICT, selector={"app": "other"})], DISABLE),
        ([peer(STRICT, ROOT, selector=USERS)], PERMISSIVE),
        ([peer(STRICT, "other")], PERMISSIVE),
        ([peer(STRICT), peer(DISABLE)], STRICT),
        ([peer(DISABLE, selector=USERS, ports={8080: STRICT})], STRICT),
        ([peer(DISABLE, selector=USERS, ports={8080: None})], DISABLE),
        ([peer(None, selector=USERS, ports={9090: DISABLE}), peer(STRICT)], STRICT),
    ],
)
def test_the_most_specific_policy_wins(peers: list[PeerAuthentication], mode: MtlsMode) -> None:
    assert mtls_mode(seen_from(mesh(peers=peers)), "shop", USERS, 8080) is mode


def test_a_port_nobody_names_has_the_workload_s_mode() -> None:
    view = seen_from(mesh(peers=[peer(STRICT, selector=USERS, ports={8080: DISABLE})]))
    assert mtls_mode(view, "shop", USERS, 8080) is DISABLE
    assert mtls_mode(view, "shop", USERS, None) is STRICT
