"""Questions to a running mesh, over its unix socket. Light: nothing but the standard library is imported."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from heddle.meshes import MeshHome


class MeshUnreachable(Exception):
    """The mesh does not answer; the text says which."""


class Refused(Exception):
    """The mesh answered that it will not: no such pod, say. The text is its answer."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("heddle", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(
    home: MeshHome, path: str, parameters: Mapping[str, str] | None = None, *, timeout: float = 30
) -> dict[str, object]:
    """The JSON answer to one question; `timeout` in seconds. Raises MeshUnreachable, or Refused."""
    query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
    connection = _UnixConnection(home.admin_socket, timeout)
    try:
        connection.request("GET", path + query)
        answer = connection.getresponse()
        body = answer.read()
        found = json.loads(body) if body else {}
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise MeshUnreachable(f"mesh {home.name} does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise Refused(str(found.get("error", f"HTTP status {answer.status}")))
    return dict(found)
