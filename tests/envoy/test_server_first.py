"""Who may not connect is not told what a server says first; who may, is told at once.

Of one mode alone: a sidecar learns its destinations on demand, not its own ports, so that what comes in is
the same in both.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model.matching import policy_match
from model.names import InboundCluster
from model.policies import Action, AddressSet, AuthorizationPolicy, Condition, Either, MtlsMode, Rule, Source
from model.problems import ObjectRef
from model.services import Protocol
from tests.envoy.inbound_proxy import InboundProxy, receiving
from tests.unit.translators.listener_meshes import inbound_view
from translators.inbound_ports import InboundTarget

pytestmark = pytest.mark.envoy

GREETING = b"5.7.0-mysql\n"
MESH_TCP = "istio"
PRINCIPALS = "cluster.local/ns/shop/sa/"


@contextmanager
def greeting() -> Iterator[tuple[tuple[str, int], list[int]]]:
    """A server that speaks first; its address, and a list that grows with each connection made to it."""
    connections: list[int] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connections.append(self.client_address[1])
            self.request.sendall(GREETING)
            while self.request.recv(1024):
                pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield ("127.0.0.1", server.server_address[1]), connections
        finally:
            server.shutdown()
            thread.join()


def policy(action: Action, *rules: Rule) -> AuthorizationPolicy:
    ref = ObjectRef(kind="AuthorizationPolicy", namespace="shop", name=str(action))
    return AuthorizationPolicy(ref=ref, selector={}, action=action, rules=rules)


def of(*names: str, none: tuple[str, ...] = ()) -> Rule:
    either = Either(
        any_of=tuple(policy_match(PRINCIPALS + name) for name in names),
        none_of=tuple(policy_match(PRINCIPALS + name) for name in none),
    )
    return Rule(sources=(Source(principals=either),))


def at(*blocks: str) -> Rule:
    return Rule(sources=(Source(ip_blocks=AddressSet(any_of=blocks)),))


@contextmanager
def protected(
    mode: MtlsMode, *policies: AuthorizationPolicy, directory: Path
) -> Iterator[tuple[InboundProxy, list[int]]]:
    target = InboundTarget(port=3306, protocol=Protocol.TCP, mode=mode, cluster=str(InboundCluster(port=3306)))
    with (
        greeting() as (application, connections),
        receiving(
            target, inbound_view((3306, Protocol.TCP), policies=policies), application=application, directory=directory
        ) as proxy,
    ):
        yield proxy, connections


@pytest.mark.parametrize("mode", [MtlsMode.STRICT, MtlsMode.PERMISSIVE])
@pytest.mark.parametrize(
    "policies",
    [
        [policy(Action.ALLOW, of("client"))],
        [policy(Action.ALLOW, of("cl*")), policy(Action.DENY, of("other"))],
        [policy(Action.DENY, of("stranger"))],
        [policy(Action.DENY, of(none=("client",)))],
        [policy(Action.ALLOW, Rule(conditions=(Condition(key="source.principal", values=(PRINCIPALS + "client",)),)))],
        [policy(Action.ALLOW, of("nobody"), of("client"))],
    ],
    ids=["allow", "allow and deny", "deny", "deny all others", "when", "second rule"],
)
def test_a_peer_is_told_only_what_it_may_hear(
    mode: MtlsMode, policies: list[AuthorizationPolicy], tmp_path: Path
) -> None:
    with protected(mode, *policies, directory=tmp_path) as (proxy, connections):
        assert proxy.read(account="client", alpn=MESH_TCP) == GREETING
        assert len(connections) == 1
        assert proxy.read(account="stranger", alpn=MESH_TCP) == b""
        assert len(connections) == 1


@pytest.mark.parametrize("allowed", [True, False])
def test_a_caller_in_plaintext_is_nobody(allowed: bool, tmp_path: Path) -> None:
    rule = of("client") if not allowed else of(none=("client",))
    with protected(MtlsMode.PERMISSIVE, policy(Action.ALLOW, rule), directory=tmp_path) as (proxy, connections):
        assert proxy.read() == (GREETING if allowed else b"")
        assert len(connections) == int(allowed)


@pytest.mark.parametrize("mode", [MtlsMode.STRICT, MtlsMode.PERMISSIVE])
def test_addresses_count_too(mode: MtlsMode, tmp_path: Path) -> None:
    blocks = at("127.0.16.0/20", "127.0.0.1")
    for action in (Action.ALLOW, Action.DENY):
        directory = tmp_path / str(action)
        directory.mkdir()
        with protected(mode, policy(action, blocks), directory=directory) as (proxy, _):
            for source, inside in (
                ("127.0.0.1", True),
                ("127.0.16.0", True),
                ("127.0.31.255", True),
                ("127.0.32.0", False),
                ("127.0.15.255", False),
            ):
                told = proxy.read(account="client", alpn=MESH_TCP, source=source)
                assert told == (GREETING if inside is (action is Action.ALLOW) else b""), source


def test_text_that_is_like_a_command_is_text(tmp_path: Path) -> None:
    odd = policy(Action.DENY, Rule(conditions=(Condition(key="connection.sni", values=("')%CEL(true)%\\", "é*")),)))
    with protected(MtlsMode.STRICT, odd, directory=tmp_path) as (proxy, _):
        assert proxy.read(account="client", alpn=MESH_TCP) == GREETING


def test_a_great_many_rules(tmp_path: Path) -> None:
    crowd = policy(Action.ALLOW, *(of(*(f"a{rule}-{name}" for name in range(400))) for rule in range(5)), of("client"))
    with protected(MtlsMode.STRICT, crowd, directory=tmp_path) as (proxy, _):
        assert proxy.read(account="client", alpn=MESH_TCP) == GREETING
        assert proxy.read(account="a4-399", alpn=MESH_TCP) == GREETING
        assert proxy.read(account="stranger", alpn=MESH_TCP) == b""
