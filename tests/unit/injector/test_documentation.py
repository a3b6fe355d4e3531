"""docs/injection.md names everything there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from injector.decide import Why
from injector.obstacles import Obstacle
from injector.sidecar_options import READ

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "injection.md").read_text()


@pytest.mark.parametrize("reason", [*Why, *Obstacle])
def test_every_reason(reason: Why | Obstacle) -> None:
    assert f"`{reason}`" in TEXT


@pytest.mark.parametrize("annotation", sorted(READ - {"sidecar.istio.io/status"}))
def test_every_annotation(annotation: str) -> None:
    group, _, name = annotation.rpartition("/")
    assert f"`{annotation}`" in TEXT or (f"`{group}/`" in TEXT and f"`{name}`" in TEXT)
