"""Requests to a real API server by its administrator, one after another over one connection."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any, TypeAlias
from urllib.parse import urlencode

from tests.cluster.control_plane import ControlPlane

Json: TypeAlias = dict[str, Any]


class Rest:
    """Quick enough for properties: a kubectl takes a tenth of a second to begin."""

    def __init__(self, cluster: ControlPlane) -> None:
        context = ssl.create_default_context(cafile=str(cluster.ca_file))
        host, _, port = cluster.url.removeprefix("https://").rpartition(":")
        self._connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)
        self._token = cluster.admin_token

    def request(self, method: str, path: str, body: object = None, **query: str) -> tuple[int, Json]:
        """Status and answer."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        text = None if body is None else json.dumps(body)
        self._connection.request(method, f"{path}?{urlencode(query)}", body=text, headers=headers)
        response = self._connection.getresponse()
        answer = response.read()
        is_json = response.headers.get_content_type() == "application/json"
        decoded: Json = json.loads(answer) if is_json else {"message": answer.decode()}
        return response.status, decoded

    def try_create(self, item: Json, plural: str, namespace: str, *, strict: bool = False) -> tuple[int, Json]:
        """What would become of an object, which is not kept."""
        path = f"/apis/{item['apiVersion']}/namespaces/{namespace}/{plural}"
        placed = {**item, "metadata": {**item["metadata"], "namespace": namespace}}
        validation = "Strict" if strict else "Ignore"
        return self.request("POST", path, placed, dryRun="All", fieldValidation=validation)

    def close(self) -> None:
        self._connection.close()
