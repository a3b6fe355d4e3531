"""Writing to an API server: what was done is answered, what was refused says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import MERGE_PATCH, Api, Refused, open_api
from tests.kubernetes_api.server import FakeApiServer, Refuse, running

MAPS = "/api/v1/namespaces/shop/configmaps"


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with running(FakeApiServer()) as server:
        yield server


@pytest.fixture
async def api(server: FakeApiServer, tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(ClusterAccess(kubeconfig=server.write_kubeconfig(tmp_path / "config"))) as api:
        yield api


async def test_an_object_is_made_changed_and_deleted(api: Api) -> None:
    made = await api.write("POST", MAPS, {"metadata": {"name": "x"}, "data": {"a": "1", "b": "2"}})
    assert made["data"] == {"a": "1", "b": "2"}
    merged = await api.write("PATCH", f"{MAPS}/x", {"data": {"a": "3", "b": None}}, content_type=MERGE_PATCH)
    assert merged["data"] == {"a": "3"}
    replaced = await api.write("PUT", f"{MAPS}/x", {**merged, "data": {"c": "4"}})
    assert replaced["data"] == {"c": "4"}
    await api.write("DELETE", f"{MAPS}/x")
    with pytest.raises(Refused) as refused:
        await api.write("DELETE", f"{MAPS}/x")
    assert refused.value.refusal.code == 404


async def test_what_somebody_else_changed_meanwhile_is_not_overwritten(api: Api) -> None:
    made = await api.write("POST", MAPS, {"metadata": {"name": "x"}})
    await api.write("PATCH", f"{MAPS}/x", {"data": {"a": "1"}}, content_type=MERGE_PATCH)
    with pytest.raises(Refused) as refused:
        await api.write("PUT", f"{MAPS}/x", made)
    assert (refused.value.refusal.code, refused.value.refusal.reason) == (409, "Conflict")
    with pytest.raises(Refused) as refused:
        await api.write("POST", MAPS, {"metadata": {"name": "x"}})
    assert refused.value.refusal.reason == "AlreadyExists"


async def test_a_refusal_says_when_to_come_back(server: FakeApiServer, api: Api) -> None:
    server.refuse["configmaps"] = Refuse(429, "too many", {"Retry-After": "3"})
    with pytest.raises(Refused) as refused:
        await api.write("POST", MAPS, {"metadata": {"name": "x"}})
    assert (str(refused.value), refused.value.retry_after) == ("too many", 3.0)
