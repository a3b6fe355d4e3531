"""A real mesh for all tests here: nine pods, most with a real Envoy. For what depends on it, one in each mode."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from model.on_demand import SidecarConfig
from tests.mesh.running_mesh import RunningMesh, start

BOTH = (SidecarConfig.EAGER, SidecarConfig.ON_DEMAND)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test whose module says `MODES` runs once in each, the others in eager mode alone."""
    if "shared_mesh" in metafunc.fixturenames:
        modes = getattr(metafunc.module, "MODES", BOTH[:1])
        metafunc.parametrize("shared_mesh", modes, indirect=True, scope="session", ids=str)


@pytest.fixture(scope="session")
def shared_mesh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    running = start(tmp_path_factory.mktemp("mesh"), f"tests-{request.param}", "--sidecar-config", request.param)
    yield running
    running.down()


@pytest.fixture
def mesh(shared_mesh: RunningMesh) -> Iterator[RunningMesh]:
    """The shared mesh; what a test wrote into case.yaml is gone when it ends."""
    yield shared_mesh
    if (shared_mesh.directory / "case.yaml").exists():
        shared_mesh.remove()
