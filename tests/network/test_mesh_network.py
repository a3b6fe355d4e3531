"""The laptop network as it is: real namespaces, real rules, as root and as an ordinary user."""

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from heddle.local.isolation import Isolation
from tests.network.mesh_under_test import WORLD, run_scenario

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
        "orphans_are_reaped",
        "the_hosts_routes_are_seen",
        "capture_redirects",
        "services_are_balanced",
        "all_or_none",
    ],
)
def test_network(isolation: Isolation, scenario: str, folder: Path) -> None:
    run_scenario(isolation, scenario, folder)


@BOTH
def test_names_resolve(isolation: Isolation, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as world:
        world.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=answer_for_the_world, args=(world,))
        thread.start()
        monkeypatch.setenv(WORLD, str(world.getsockname()[1]))
        try:
            run_scenario(isolation, "names_resolve", folder)
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as me:
                me.sendto(b"", world.getsockname())
            thread.join()


def answer_for_the_world(world: socket.socket) -> None:
    while True:
        data, asker = world.recvfrom(2048)
        if not data:
            return
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        asked = query.question[0]
        if asked.name.to_text() != "www.example.org.":
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif asked.rdtype == dns.rdatatype.A:
            reply.answer.append(dns.rrset.from_text(asked.name, 60, "IN", "A", "192.0.2.80"))
        world.sendto(reply.to_wire(), asker)


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


@pytest.mark.envoy
@pytest.mark.slow
@pytest.mark.parametrize("config", ["eager", pytest.param("on_demand", marks=pytest.mark.soak)])
def test_sidecars_keep_working_while_the_control_plane_is_killed_and_restarted(folder: Path, config: str) -> None:
    run_scenario(Isolation.ROOT, f"control_plane_restarts_{config}", folder)
