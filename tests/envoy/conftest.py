"""Tests that need a sidecar's mode run in both: see tests/sidecar_modes.py."""

from __future__ import annotations

from tests.sidecar_modes import config as config  # the fixture
from tests.sidecar_modes import parametrize_modes

pytest_generate_tests = parametrize_modes
