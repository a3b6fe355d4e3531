"""One real mesh for all tests here: nine pods, most with a real Envoy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mesh.running_mesh import RunningMesh, start


@pytest.fixture(scope="session")
def shared_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    running = start(tmp_path_factory.mktemp("mesh"), "tests")
    yield running
    running.down()


@pytest.fixture
def mesh(shared_mesh: RunningMesh) -> Iterator[RunningMesh]:
    """The shared mesh; what a test wrote into case.yaml is gone when it ends."""
    yield shared_mesh
    if (shared_mesh.directory / "case.yaml").exists():
        shared_mesh.remove()
