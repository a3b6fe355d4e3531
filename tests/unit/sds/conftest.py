"""One authority, one moment and one workload for the tests of identity."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from model.identity import SpiffeId
from sds.authority import NewAuthority, create_authority

NOW = datetime(2027, 3, 1, 12, 0, 0, 654321, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def new_authority() -> NewAuthority:
    return create_authority(trust_domain="mesh.example", now=NOW)


@pytest.fixture
def identity() -> SpiffeId:
    return SpiffeId(trust_domain="mesh.example", namespace="shop", service_account="users")
