"""What the admin socket answers while a manifest is being written. A real socket, a control plane without sidecars."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from heddle.admin import About, admin_api
from heddle.control_plane import ControlPlane, PlaneSettings


class Mesh:
    """A control plane and its manifests, asked over its socket."""

    def __init__(self, session: aiohttp.ClientSession, plane: ControlPlane, manifests: Path) -> None:
        self._session = session
        self.plane = plane
        self.manifests = manifests

    async def ask(self, question: str) -> dict[str, Any]:
        async with self._session.get(f"http://mesh{question}") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    @property
    def namespaces(self) -> list[str]:
        return sorted(name for _, name in self.plane.store.namespaces)


def namespace(name: str) -> str:
    return f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "a.yaml").write_text(namespace("a") + "---\n" + namespace("b"))
    plane = ControlPlane(PlaneSettings(directory=manifests, keys=tmp_path / "keys", host="127.0.0.1"))
    socket = tmp_path / "socket"
    async with (
        plane.running(),
        admin_api(plane, About(mesh="test"), socket),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket))) as session,
    ):
        yield Mesh(session, plane, manifests)


async def test_a_wait_ends_when_the_file_is_closed(mesh: Mesh) -> None:
    with (mesh.manifests / "a.yaml").open("w") as writer:
        writer.write(namespace("a"))
        writer.flush()
        waiting = asyncio.create_task(mesh.ask("/wait?timeout=20"))
        async with asyncio.timeout(20):
            while not (await mesh.ask("/status"))["pending"]:
                pass
        # The question that came later is answered, so the wait has begun.
        assert not waiting.done()
        assert mesh.namespaces == ["a", "b"]
        writer.write("---\n" + namespace("c"))
    assert (await waiting)["outcome"] == "applied"
    assert mesh.namespaces == ["a", "c"]


async def test_a_wait_names_the_file_when_its_time_is_up(mesh: Mesh) -> None:
    file = mesh.manifests / "a.yaml"
    with file.open("w"):
        found = await mesh.ask("/wait?timeout=0.05")
        assert (found["outcome"], found["late"]) == ("late", [f"{file} is being written"])
        assert (await mesh.ask("/status"))["pending"] == [f"{file} is being written"]
    assert mesh.namespaces == ["a", "b"]


async def test_a_file_that_is_saved_is_counted(mesh: Mesh) -> None:
    for name in ("c", "d", "e"):
        (mesh.manifests / "a.yaml").write_text(namespace(name))
        assert (await mesh.ask("/wait?timeout=20"))["outcome"] == "applied"
        assert mesh.namespaces == [name]
