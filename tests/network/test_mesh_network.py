"""The laptop network as it is: real namespaces, real rules, as root and as an ordinary user."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from heddle.local.isolation import Isolation
from tests.network.mesh_under_test import run_scenario

pytestmark = pytest.mark.network

BOTH = pytest.mark.parametrize("isolation", [Isolation.ROOT, Isolation.USER_NAMESPACE], ids=lambda mode: mode.value)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="heddle-test-") as name:
        yield Path(name)


@BOTH
@pytest.mark.parametrize(
    "scenario",
    [
        "pods_reach_each_other",
        "names_resolve",
        "capture_redirects",
        "services_are_balanced",
        "all_or_none",
    ],
)
def test_network(isolation: Isolation, scenario: str, folder: Path) -> None:
    run_scenario(isolation, scenario, folder)


@BOTH
def test_ipv6_is_blocked_where_it_cannot_be_captured(
    isolation: Isolation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = folder / "bin"
    programs.mkdir()
    fake = programs / "ip6tables-restore"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    run_scenario(isolation, "ipv6_is_blocked_where_it_cannot_be_captured", folder)


FAKE = """#!/bin/sh
rules=$(cat)
case $rules in *nat*) echo 'no nat table' >&2; exit 1;; esac
printf '%s\\n' "$rules" | PATH=/usr/sbin:/sbin ip6tables-restore "$@"
"""
