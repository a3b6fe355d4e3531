"""A cluster in memory, as commands see one: objects by path, and an administrator who may do everything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sources.kubernetes.api import Refused
from sources.kubernetes.events import Refusal

Json = dict[str, Any]
_REVIEWS: Final = ("selfsubjectreviews", "selfsubjectaccessreviews")


class FakeCluster:
    """`objects` by path. `version` is the API server's, `time` what it says it is, `hidden` resources that may not be
    read. `rules` are those that whoever asks for rights holds, as in a Role, with its `namespace` if it has one; None
    for all there are. `invalid` are names of objects that are refused, with the reason. `written` are methods and
    paths, in turn, `tried` the paths of dry runs; `appliers` say who applied what."""

    name = "https://fake"

    def __init__(self, *, version: str = "v1.34.2", time: str = "2026-01-01T00:00:00Z") -> None:
        self.objects: dict[str, Json] = {}
        self.version = version
        self.time = time
        self.hidden: set[str] = set()
        self.rules: list[Json] | None = None
        self.invalid: dict[str, str] = {}
        self.written: list[tuple[str, str]] = []
        self.tried: list[str] = []
        self.appliers: list[tuple[str, Json]] = []
        self._number = 0

    def put(self, path: str, item: Json) -> None:
        self._number += 1
        metadata = {**item.get("metadata", {}), "name": path.rpartition("/")[2], "resourceVersion": str(self._number)}
        parts = path.split("/")
        if "namespaces" in parts[:-2]:
            metadata["namespace"] = parts[parts.index("namespaces") + 1]
        self.objects[path] = {**item, "metadata": metadata}

    async def get(self, path: str, query: Mapping[str, str], accept: str) -> bytes:
        if path == "/version":
            return json.dumps({"gitVersion": self.version}).encode()
        if any(f"/{name}" in path for name in self.hidden):
            raise Refused(Refusal(code=403, message=f"{path} is forbidden"))
        if path in self.objects:
            return json.dumps(self.objects[path]).encode()
        plural = path.rpartition("/")[2]
        prefix = path.removesuffix(plural)
        wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
        items = [
            item
            for place, item in self.objects.items()
            if place.startswith(prefix) and place.split("/")[-2] == plural and _has(item, wanted)
        ]
        if not items and plural not in ("pods", "namespaces") and "labelSelector" not in query and not query:
            raise Refused(Refusal(code=404, message=f"{path} not found"))
        return json.dumps({"items": items, "metadata": {}}).encode()

    async def write(
        self, method: str, path: str, body: Json | None = None, *, query: Mapping[str, str], content_type: str
    ) -> Json:
        plural = path.rpartition("/")[2]
        if plural == "selfsubjectreviews":
            return {"metadata": {"creationTimestamp": self.time}}
        if plural == "selfsubjectaccessreviews":
            assert body is not None
            return {"status": {"allowed": self._may(body["spec"])}}
        if plural in self.invalid:
            raise Refused(Refusal(code=422, message=self.invalid[plural]))
        if query.get("dryRun") == "All":
            self.tried.append(path)
            return body or {}
        self.written.append((method, path))
        if method == "DELETE":
            if self.objects.pop(path, None) is None:
                raise Refused(Refusal(code=404))
            return {}
        assert body is not None
        self.appliers.append((query.get("fieldManager", ""), body))
        held = self.objects.get(path)
        if held is None or _joined(held, body) != held:
            self.put(path, _joined(held or {}, body))
        return self.objects[path]

    def _may(self, spec: Json) -> bool:
        return self.rules is None or any(_covers(rule, spec) for rule in self.rules)


def _covers(rule: Json, spec: Json) -> bool:
    """As the API server's RBAC decides."""
    asked = spec.get("resourceAttributes") or {}
    if not asked:
        path = spec["nonResourceAttributes"]
        return path["verb"] in rule["verbs"] and path["path"] in rule.get("nonResourceURLs", ())
    resource = "/".join(part for part in (asked["resource"], asked.get("subresource", "")) if part)
    return (
        rule.get("namespace") in (None, asked.get("namespace"))
        and bool({"*", asked["verb"]} & set(rule["verbs"]))
        and bool({"*", asked.get("group", "")} & set(rule.get("apiGroups", ())))
        and bool({"*", resource} & set(rule.get("resources", ())))
        and ("resourceNames" not in rule or asked.get("name") in rule["resourceNames"])
    )


def _has(item: Json, wanted: Mapping[str, str]) -> bool:
    labels = item["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in wanted.items())


def _joined(held: Json, wanted: Json) -> Json:
    joined = dict(held)
    for name, value in wanted.items():
        joined[name] = _joined(joined.get(name) or {}, value) if isinstance(value, dict) else value
    return joined
