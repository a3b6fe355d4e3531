"""A small API server: lists in pages, watches with bookmarks, compaction, outages and restores at a test's command.

It speaks what a real one speaks of the part that a source uses, over HTTP on a loopback port.
"""

from __future__ import annotations

import asyncio
import copy
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from aiohttp import web

from tests.kubernetes_api.objects import Json

TOKEN = "the-token"
ISTIO = {
    "virtualservices.networking.istio.io": "VirtualService",
    "destinationrules.networking.istio.io": "DestinationRule",
    "gateways.networking.istio.io": "Gateway",
    "sidecars.networking.istio.io": "Sidecar",
    "peerauthentications.security.istio.io": "PeerAuthentication",
    "authorizationpolicies.security.istio.io": "AuthorizationPolicy",
}
_BUILT_IN = {
    "Namespace": "namespaces",
    "Service": "services",
    "Pod": "pods",
    "Node": "nodes",
    "Deployment": "deployments.apps",
    "ServiceAccount": "serviceaccounts",
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "EndpointSlice": "endpointslices.discovery.k8s.io",
    "Lease": "leases.coordination.k8s.io",
    "CustomResourceDefinition": "customresourcedefinitions.apiextensions.k8s.io",
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations.admissionregistration.k8s.io",
}
_NAMES = {**_BUILT_IN, **{kind: name for name, kind in ISTIO.items()}}


@dataclass(frozen=True)
class Write:
    """One line of history."""

    version: int
    resource: str
    kind: str
    item: Json


@dataclass
class Refuse:
    """How requests for a resource are answered."""

    status: int
    message: str = "no"
    headers: dict[str, str] = field(default_factory=dict)


class FakeApiServer:
    """`refuse` by resource (`pods`, `virtualservices.networking.istio.io/status`).

    `requests` are the paths with queries. Callers are known by one of `tokens`, or by a certificate in the name of one
    of `users`, which needs `tls`. `documents` are answered at their paths (`/openid/v1/jwks`), `review` gives a
    TokenReview's status by its spec.
    """

    def __init__(self, *, definitions: bool = True) -> None:
        self.version = 1000
        self.requests: list[str] = []
        self.refuse: dict[str, Refuse] = {}
        self.page_hook = lambda: None
        self.prune_status: Callable[[Json], Json] = lambda status: status
        self.watch_seconds: float | None = None
        self.tokens = {TOKEN}
        self.users: set[str] = set()
        self.tls: ssl.SSLContext | None = None
        self.documents: dict[str, Json] = {}
        self.review: Callable[[Json], Json] = lambda spec: {"authenticated": False, "error": "invalid bearer token"}
        self.reviewed: list[Json] = []
        self._compacted = 0
        self._objects: dict[str, dict[str, Json]] = {}
        self._history: list[Write] = []
        self._news = asyncio.Event()
        self._watches: dict[asyncio.Queue[bytes | None], str] = {}
        self._runner: web.AppRunner | None = None
        self.port = 0
        if definitions:
            self.define(*ISTIO)

    # What a test does

    def define(self, *names: str) -> None:
        for name in names:
            head = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
            self.put({**head, "metadata": {"name": name}, "spec": {"big": "x" * 100}})

    def undefine(self, name: str) -> None:
        """As the real one: first the objects go, then the definition, then the watches end."""
        for item in list(self._objects.get(name, {}).values()):
            self.delete(item)
        self.delete({"kind": "CustomResourceDefinition", "metadata": {"name": name}})
        for queue, resource in self._watches.items():
            if resource == name:
                queue.put_nowait(None)

    def put(self, item: Json) -> Json:
        resource, key = _NAMES[item["kind"]], _key(item)
        before = self._objects.setdefault(resource, {}).get(key)
        self.version += 1
        stored = copy.deepcopy(item)
        stored["metadata"]["resourceVersion"] = str(self.version)
        stored["metadata"]["managedFields"] = [{"manager": "test", "fieldsV1": {"f:spec": {}}}]
        if _NAMES[item["kind"]] not in _BUILT_IN.values():
            same = before is not None and before.get("spec") == stored.get("spec")
            last = before["metadata"]["generation"] if before is not None else 0
            stored["metadata"]["generation"] = last if same else last + 1
        stored["metadata"].setdefault("uid", f"uid-{self.version}" if before is None else before["metadata"]["uid"])
        self._objects[resource][key] = stored
        self._tell(Write(self.version, resource, "ADDED" if before is None else "MODIFIED", stored))
        return stored

    def delete(self, item: Json) -> None:
        resource = _NAMES[item["kind"]]
        stored = self._objects[resource].pop(_key(item))
        self.version += 1
        last = copy.deepcopy(stored)
        last["metadata"]["resourceVersion"] = str(self.version)
        self._tell(Write(self.version, resource, "DELETED", last))

    def bookmark(self) -> None:
        """All watches are told how far they are."""
        self.version += 1
        head = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self.version)}}}
        for queue in self._watches:
            queue.put_nowait(json.dumps(head).encode() + b"\n")

    def compact(self) -> None:
        """Nobody can begin a watch, or go on with a list, from before now."""
        self._compacted = self.version

    def send(self, resource: str, line: bytes) -> None:
        """Something of the test's own in the watches of a resource."""
        for queue, watched in self._watches.items():
            if watched == resource:
                queue.put_nowait(line)

    def send_error(self, resource: str, code: int, message: str = "no more") -> None:
        status = {"kind": "Status", "code": code, "message": message, "reason": "Expired" if code == 410 else "Error"}
        self.send(resource, json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")

    def cut(self) -> None:
        """Every watch ends."""
        for queue in self._watches:
            queue.put_nowait(None)

    def snapshot(self) -> tuple[int, dict[str, dict[str, Json]]]:
        return self.version, copy.deepcopy(self._objects)

    def restore(self, snapshot: tuple[int, dict[str, dict[str, Json]]]) -> None:
        """As a restored etcd: versions go back, and what was written since never happened."""
        self.version, self._objects = snapshot[0], copy.deepcopy(snapshot[1])
        self._history = [write for write in self._history if write.version <= self.version]

    def watchers(self, resource: str) -> int:
        return sum(watched == resource for watched in self._watches.values())

    # Running

    async def start(self) -> None:
        """On a port of its own; the same one when started again."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Goes away; what it holds stays."""
        if self._runner is not None:
            for site in tuple(self._runner.sites):
                await site.stop()
            for _ in range(10):
                # Connections that were accepted already are only closed once they are known.
                await asyncio.sleep(0)
            self.cut()
            await self._runner.cleanup()
            self._runner = None

    def write_kubeconfig(self, file: Path) -> Path:
        named = {"cluster": {"server": f"http://127.0.0.1:{self.port}"}, "name": "fake"}
        user = {"user": {"token": TOKEN}, "name": "tester"}
        context = {"context": {"cluster": "fake", "user": "tester"}, "name": "fake"}
        head = {"apiVersion": "v1", "kind": "Config", "current-context": "fake"}
        file.write_text(yaml.safe_dump({**head, "clusters": [named], "users": [user], "contexts": [context]}))
        return file

    # Requests

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(str(request.rel_url))
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if not (kind.lower() == "bearer" and token in self.tokens) and _user(request) not in self.users:
            return _status(401, "Unauthorized")
        if request.path.startswith(("/.well-known/", "/openid/")):
            refused = self.refuse.get(request.path)
            if refused is not None or request.path not in self.documents:
                return _status(refused.status if refused else 404, refused.message if refused else "not found")
            media = "application/jwk-set+json" if "jwks" in request.path else "application/json"
            if request.headers["Accept"] != media:
                return _status(406, f"Not Acceptable; available representations: {media}")
            return web.json_response(self.documents[request.path], content_type=media)
        resource, namespace = _resource(request.path)
        part = "/status" if request.path.endswith("/status") else ""
        refused = self.refuse.get(f"{resource}{part}")
        if refused is not None:
            return _status(refused.status, refused.message, refused.headers)
        if resource == "tokenreviews.authentication.k8s.io":
            asked = await request.json()
            self.reviewed.append(asked["spec"])
            return web.json_response({**asked, "status": self.review(asked["spec"])}, status=201)
        version = request.path.split("/")[3 if request.path.startswith("/apis/") else 2]
        served = version == "v1" and (
            resource in _BUILT_IN.values() or resource in self._objects.get(_NAMES["CustomResourceDefinition"], {})
        )
        if not served:
            return _status(404, "the server could not find the requested resource")
        if request.method != "GET" or _name(request.path):
            return await self._answer_object(request, resource, namespace)
        if request.query.get("watch") == "true":
            return await self._watch(request, resource, namespace)
        return self._list(request, resource, namespace)

    async def _answer_object(self, request: web.Request, resource: str, namespace: str) -> web.Response:
        """One object by its name: read, created, replaced (only the version that was read), merged into, deleted."""
        body = json.loads(await request.text() or "null")
        name = _name(request.path) or body["metadata"]["name"]
        held = self._objects.get(resource, {}).get(
            name if resource == _NAMES["CustomResourceDefinition"] else f"{namespace}/{name}"
        )
        if request.method == "POST":
            if held is not None:
                return _status(409, f"{resource} {name} already exists", reason="AlreadyExists")
            return web.json_response(self.put(_placed(body, resource, namespace)), status=201)
        if (
            held is None
            and not request.path.endswith("/status")
            and not ("apply" in request.content_type and request.method == "PATCH")
        ):
            return _status(404, f"{resource} {name} not found", reason="NotFound")
        if request.path.endswith("/status"):
            return self._answer_status(held, body)
        wanted = ((body or {}).get("metadata") or {}).get("resourceVersion")
        if held is not None and wanted and wanted != held["metadata"]["resourceVersion"]:
            return _status(409, "the object has been modified", reason="Conflict")
        match request.method:
            case "PUT":
                return web.json_response(self.put(_placed(body, resource, namespace)))
            case "PATCH":
                return web.json_response(self.put(_merged(_placed(held or {}, resource, namespace, name), body)))
            case "DELETE":
                assert held is not None
                self.delete(held)
        return web.json_response(held)

    def _answer_status(self, held: Json | None, body: Json) -> web.Response:
        """An apply to the status: nothing else of the object changes, and nothing at all if it is so already."""
        if held is None:
            return _status(404, "not found", reason="NotFound")
        if body["metadata"].get("uid") not in (None, held["metadata"]["uid"]):
            return _status(409, "the uid in the precondition differs", reason="Conflict")
        status = self.prune_status(body["status"])
        return web.json_response(held if held.get("status") == status else self.put({**held, "status": status}))

    def _list(self, request: web.Request, resource: str, namespace: str) -> web.Response:
        limit = int(request.query.get("limit", "0"))
        version, start = self.version, 0
        if "continue" in request.query:
            version, start = map(int, request.query["continue"].split(":"))
            if version < self._compacted:
                return _status(410, "the provided continue parameter is too old")
        items = [
            item
            for key, item in sorted(self._objects.get(resource, {}).items())
            if self._fits(request, item, namespace)
        ]
        page = items[start : start + limit] if limit else items
        more = bool(limit) and start + limit < len(items)
        head = {"resourceVersion": str(version), **({"continue": f"{version}:{start + limit}"} if more else {})}
        shown = [_shown(request, item) for item in page]
        if resource in _BUILT_IN.values():
            # The real one leaves out what the list says already.
            shown = [
                {name: value for name, value in item.items() if name not in ("apiVersion", "kind")} for item in shown
            ]
        body = {"metadata": head, "items": shown}
        self.page_hook()
        return web.json_response(body)

    async def _watch(self, request: web.Request, resource: str, namespace: str) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        if since < self._compacted:
            return _status(410, "too old resource version")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        missed = [write for write in self._history if write.version > since and write.resource == resource]
        self._watches[queue] = resource
        await response.prepare(request)
        try:
            for write in missed:
                if self._fits(request, write.item, namespace):
                    await response.write(_line(request, write))
            while True:
                async with asyncio.timeout(self.watch_seconds):
                    line = await queue.get()
                lines = [line]
                while not queue.empty():
                    lines.append(queue.get_nowait())
                written = [self._filtered(request, each, namespace) for each in lines if each is not None]
                await response.write(b"".join(written))
                if None in lines:
                    break
        except (TimeoutError, ConnectionResetError):
            pass
        finally:
            del self._watches[queue]
        return response

    def _filtered(self, request: web.Request, line: bytes, namespace: str) -> bytes:
        try:
            decoded = json.loads(line)
        except (ValueError, RecursionError):
            return line
        item = decoded["object"]
        if decoded["type"] in ("ERROR", "BOOKMARK"):
            return line
        if not self._fits(request, item, namespace):
            return b""
        return json.dumps({"type": decoded["type"], "object": _shown(request, item)}).encode() + b"\n"

    def _tell(self, write: Write) -> None:
        self._history.append(write)
        for queue, resource in self._watches.items():
            if resource == write.resource:
                queue.put_nowait(json.dumps({"type": write.kind, "object": write.item}).encode() + b"\n")

    def _fits(self, request: web.Request, item: Json, namespace: str) -> bool:
        name = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        held = item["metadata"]
        return (not namespace or held.get("namespace") == namespace) and (not name or held["name"] == name)


@asynccontextmanager
async def running(server: FakeApiServer) -> AsyncIterator[FakeApiServer]:
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def _user(request: web.Request) -> str:
    shown = request.get_extra_info("peercert") or {}
    return dict(part for (part,) in shown.get("subject", ())).get("commonName", "")


def _key(item: Json) -> str:
    return (
        f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
        if item["kind"] != ("CustomResourceDefinition")
        else str(item["metadata"]["name"])
    )


def _resource(path: str) -> tuple[str, str]:
    parts = path.strip("/").split("/")
    group, rest = (parts[1], parts[3:]) if parts[0] == "apis" else ("", parts[2:])
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    return (f"{rest[0]}.{group}" if group else rest[0]), namespace


def _name(path: str) -> str:
    """The object that a path names, '' for a collection."""
    parts = path.strip("/").split("/")
    rest = parts[3:] if parts[0] == "apis" else parts[2:]
    if len(rest) >= 3 and rest[0] == "namespaces":
        rest = rest[2:]
    return rest[1] if len(rest) > 1 else ""


def _placed(item: Json, resource: str, namespace: str, name: str = "") -> Json:
    """With what a real one knows from the path."""
    kind = next(kind for kind, plural in _NAMES.items() if plural == resource)
    metadata = {**({"namespace": namespace} if namespace else {}), **({"name": name} if name else {})}
    return {**item, "kind": kind, "metadata": {**item.get("metadata", {}), **metadata}}


def _merged(held: Json, patch: Json) -> Json:
    """RFC 7386, but for webhooks, which a strategic patch joins by their names."""
    merged = dict(held)
    if "webhooks" in held and "webhooks" in patch:
        named = {each["name"]: each for each in patch["webhooks"]}
        joined = [_merged(each, named.get(each["name"], {})) for each in held["webhooks"]]
        patch = {**patch, "webhooks": joined}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key) or {}, value) if isinstance(value, dict) else value
    return merged


def _shown(request: web.Request, item: Json) -> Json:
    if "as=PartialObjectMetadata" in request.headers.get("Accept", ""):
        return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
    return item


def _line(request: web.Request, write: Write) -> bytes:
    return json.dumps({"type": write.kind, "object": _shown(request, write.item)}).encode() + b"\n"


def _status(code: int, message: str, headers: dict[str, str] | None = None, reason: str = "") -> web.Response:
    body = {
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "message": message,
        "reason": reason or ("Gone" if code == 410 else ""),
    }
    return web.json_response(body, status=code, headers=headers)
