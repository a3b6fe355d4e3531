"""Requests that stay open, come late or are given up, as the first ones to their destination, in either mode."""

from __future__ import annotations

import struct

import pytest

from tests.mesh.conftest import BOTH
from tests.mesh.raw_requests import get, post, requests
from tests.mesh.running_mesh import RunningMesh

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]
MODES = BOTH

SILENCE_SECONDS = 4
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: app}}
spec:
  selector: {{app: echo}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"""
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
"""Kinds and flags of HTTP/2 frames. Source: RFC 9113, section 6."""


def test_a_websocket(mesh: RunningMesh) -> None:
    mesh.apply(SERVICE.format(name="socket"))
    asked = "GET /chat HTTP/1.1\r\nHost: socket\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with requests(mesh) as raw:
        (answer,) = raw.send(
            {"to": "echo:80", "pieces": [[0, asked], [SILENCE_SECONDS, "there"], [1, "and back"]], "until": "and back"}
        )
    assert answer["status"] == 101
    assert answer["heard"].endswith("thereand back")
    assert answer["seconds"] < SILENCE_SECONDS + 3


def test_a_stream_that_opens_silently(mesh: RunningMesh) -> None:
    """As gRPC's client streaming and watches do: headers, and nothing for a while."""
    mesh.apply(SERVICE.format(name="silent"))
    opened = (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, posting("silent"))
    )
    said = frame(DATA, END_STREAM, 1, b"at last")
    pieces = [[0, opened.decode("latin-1")], [SILENCE_SECONDS, said.decode("latin-1")]]
    with requests(mesh) as raw:
        (answer,) = raw.send({"to": "echo:80", "pieces": pieces, "until": '"body": "at last"'})
    assert '"body": "at last"' in answer["heard"], answer
    assert SILENCE_SECONDS <= answer["seconds"] < SILENCE_SECONDS + 3


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def posting(host: str) -> bytes:
    """The headers of a POST to `/`, as HPACK spells them. Source: RFC 7541, appendix A and section 6."""
    method, scheme, path = b"\x83", b"\x86", b"\x84"
    length = len("at last")
    return method + scheme + path + literal(1, host) + literal(28, str(length))


def literal(index: int, value: str) -> bytes:
    """A header of the static table with another value, not to be remembered."""
    name = bytes([index]) if index < 15 else bytes([15, index - 15])
    return name + bytes([len(value)]) + value.encode()


def test_clients_that_reset_while_they_wait_hurt_nobody(mesh: RunningMesh) -> None:
    with requests(mesh) as raw:
        raw.send(*({**get(f"reset-{number}.example"), "reset": True} for number in range(200)))
        bodies = (post(f"reset-body-{number}.example", (0, "he"), length=5) for number in range(50))
        raw.send(*({**body, "reset": True} for body in bodies))
        assert raw.statuses(get("echo"), get("reset-0.example")) == [200, 200]


def test_first_requests_with_bodies_early_late_and_large(mesh: RunningMesh) -> None:
    names = [f"body-{number}" for number in range(3)]
    mesh.apply("---".join(SERVICE.format(name=name) for name in names))
    with requests(mesh) as raw:
        early, late, large = raw.send(
            post(names[0], (0, "hello"), length=5),
            post(names[1], (3, "hello"), length=5),
            post(names[2], (0, "x" * 3_000_000), length=3_000_000),
        )
    assert [early["status"], late["status"], large["status"]] == [200, 200, 200]
    assert late["seconds"] < 5
