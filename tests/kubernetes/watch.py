"""A watch on the API server with nothing between the test and its bytes."""

from __future__ import annotations

import http.client
import json
import ssl
from types import TracebackType

from tests.cluster.control_plane import ControlPlane


class Watch:
    """Events of one collection after a resource version, read one at a time."""

    def __init__(self, cluster: ControlPlane, path: str, version: str) -> None:
        self.version = version
        """Of the last event read; a later watch may go on from here."""
        context = ssl.create_default_context(cafile=str(cluster.ca_file))
        host, _, port = cluster.url.removeprefix("https://").rpartition(":")
        self._connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)
        query = f"?watch=1&allowWatchBookmarks=true&resourceVersion={version}"
        headers = {"Authorization": f"Bearer {cluster.admin_token}"}
        self._connection.request("GET", path + query, headers=headers)
        self._response = self._connection.getresponse()
        assert self._response.status == 200, self._response.read()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()
        self._connection.close()

    def next(self) -> tuple[str, str] | None:
        """Type and object name of the next event that is no bookmark; None once the watch is over.

        An ERROR has its reason in place of the name. Raises TimeoutError after 60 s of silence.
        """
        while line := self._line():
            event = json.loads(line)
            if event["type"] == "ERROR":
                return "ERROR", event["object"]["reason"]
            self.version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                return event["type"], event["object"]["metadata"]["name"]
        return None

    def _line(self) -> bytes:
        try:
            return self._response.readline()
        except (http.client.IncompleteRead, ConnectionResetError):
            return b""
