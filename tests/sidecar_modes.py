"""Tests of sidecars' traffic in both modes: eager, and on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from model.on_demand import SidecarConfig

F = TypeVar("F", bound=Callable[..., None])


def in_both_modes(test: F) -> F:
    """Has `make test` run a test with sidecars on demand too; `make soak` does that with every one."""
    test.in_both_modes = True  # type: ignore[attr-defined]
    return test


def parametrize_modes(metafunc: pytest.Metafunc) -> None:
    """Gives every test that needs the fixture `config` one mode after the other, a whole module in each.

    `IN_BOTH_MODES` in a module: all of its tests are cheap enough for `make test` to run them on demand too.
    """
    if "config" in metafunc.fixturenames:
        always = hasattr(metafunc.function, "in_both_modes") or hasattr(metafunc.module, "IN_BOTH_MODES")
        on_demand = pytest.param(SidecarConfig.ON_DEMAND, marks=() if always else pytest.mark.soak)
        metafunc.parametrize("config", [SidecarConfig.EAGER, on_demand], indirect=True, scope="module", ids=str)


@pytest.fixture(scope="module")
def config(request: pytest.FixtureRequest) -> SidecarConfig:
    """How the sidecars of the module's mesh learn their destinations."""
    found: SidecarConfig = request.param
    return found
