"""`heddle status` and `heddle config` of a cluster, on an API server in memory; tests/kubernetes has a real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from heddle.cluster import cluster_status
from heddle.cluster.admin_protocol import REASON, TOKEN_HEADER
from heddle.cluster.ask_replicas import Answered, CannotAsk, ControlPlanes, Declined, Silent
from heddle.cluster.cluster_config import choose_config
from heddle.cluster.cluster_status import merge_status, wait_everywhere
from heddle.cluster.replicas import PORT
from heddle.main import main
from heddle.status import _print
from sources.kubernetes.api import Refused, Unreachable
from sources.kubernetes.events import Refusal

NAMESPACE = "heddle-system"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
Reply = Callable[[str], object] | object


def pod(name: str, revision: str = "heddle", *, address: str = "10.0.0.1", version: str = "0.1.0") -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "heddle", "heddle.io/revision": revision, "app.kubernetes.io/version": version}
    return {
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": name, "labels": labels},
        "spec": {"serviceAccountName": revision, "containers": [{"name": "heddle"}]},
        "status": {"phase": "Running", "podIP": address},
    }


def plane(name: str, **more: object) -> dict[str, object]:
    told = {"version": "0.1.0", "revision": "heddle", "generation": 4, "sidecars": 1, "leading": False}
    return {"name": name, **told, **more}


def sidecar(name: str) -> dict[str, object]:
    kinds = {"cluster": {"sent": 2, "acknowledged": True, "rejected": 0}}
    return {
        "namespace": "shop",
        "pod": name,
        "protocol": "delta",
        "current": True,
        "types": kinds,
    }


def status(name: str, *sidecars: str, **more: object) -> dict[str, object]:
    return {
        "control_planes": [plane(name)],
        "sidecars": [sidecar(each) for each in sidecars],
        "rejections": [],
        "pending": [],
        "findings": [{"code": "X", "severity": "info"}],
        **more,
    }


def refused(code: int, message: str, reason: str = "") -> Refused:
    return Refused(Refusal(code=code, reason=reason, message=message))


class AskedApi:
    """`replies` by path after `proxy`, and pod; `refuse` by the part of a path."""

    name = "https://api"

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.pods = list(pods)
        self.replies: dict[tuple[str, str], object] = {}
        self.refuse: dict[str, Exception] = {}
        self.tokens: list[str] = []
        self.asked: list[str] = []

    async def get(
        self, path: str, query: Mapping[str, str], accept: str, *, headers: Mapping[str, str] | None = None
    ) -> bytes:
        for part, error in self.refuse.items():
            if part in path:
                raise error
        if "/deployments/" in path:
            return json.dumps({"metadata": {"name": "heddle"}}).encode()
        if path == PODS:
            assert query["labelSelector"] == "app.kubernetes.io/name=heddle"
            return json.dumps({"metadata": {}, "items": self.pods}).encode()
        proxied, _, rest = path.removeprefix(f"{PODS}/https:").partition("/proxy")
        name, _, port = proxied.partition(":")
        assert port == str(PORT)
        assert (headers or {})[TOKEN_HEADER] in self.tokens
        self.asked.append(f"{rest}?{urlencode(query)}" if query else rest)
        reply = self.replies[name, rest]
        if isinstance(reply, list):
            reply = reply.pop(0) if len(reply) > 1 else reply[0]
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, bytes) else json.dumps(reply).encode()

    async def write(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, str], content_type: str
    ) -> dict[str, Any]:
        for part, error in self.refuse.items():
            if part in path:
                raise error
        account = path.removeprefix(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/").removesuffix("/token")
        assert body["spec"] == {"audiences": ["heddle-admin"], "expirationSeconds": 600}
        self.tokens.append(f"{account}-{len(self.tokens)}")
        return {"status": {"token": self.tokens[-1]}}


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def planes_of(api: AskedApi, revision: str = "", seconds: Callable[[], float] | None = None) -> ControlPlanes:
    return ControlPlanes(api, namespace=NAMESPACE, revision=revision, seconds=seconds or Seconds())


async def test_all_revisions_are_asked_each_with_its_own_reader() -> None:
    api = AskedApi(pod("a"), pod("b", "heddle-canary"), pod("c", address=""))
    api.pods.append({**pod("posing"), "spec": {"serviceAccountName": "other"}})
    api.replies = {("a", "/status"): status("a", "web-1"), ("b", "/status"): status("b", "web-2")}
    answers = await planes_of(api).ask("/status")
    assert [(each.replica.pod, type(each)) for each in answers] == [("a", Answered), ("b", Answered), ("c", Silent)]
    assert api.tokens == ["heddle-reader-0", "heddle-canary-reader-1"]
    only = await planes_of(api, "heddle-canary").ask("/status")
    assert [each.replica.pod for each in only] == ["b"]


async def test_a_token_is_used_again_until_it_is_half_spent() -> None:
    api, seconds = AskedApi(pod("a")), Seconds()
    api.replies = {("a", "/status"): status("a")}
    planes = planes_of(api, seconds=seconds)
    for seconds.now in (0.0, 299.0, 301.0):
        await planes.ask("/status")
    assert api.tokens == ["heddle-reader-0", "heddle-reader-1"]


@pytest.mark.parametrize(
    ("reply", "trouble"),
    [
        (refused(503, "error trying to reach service: refused", "ServiceUnavailable"), "error trying to reach service"),
        (refused(403, "the token was not accepted", REASON), "the token was not accepted"),
        (refused(429, "too many questions", REASON), "too many questions"),
        (refused(404, 'pods "a" not found', "NotFound"), "not found"),
        (b"<html>", "no JSON"),
        (b"[]", "no object"),
    ],
)
async def test_one_that_cannot_be_asked_hides_no_other(reply: object, trouble: str) -> None:
    api = AskedApi(pod("a", version="0.0.9"), pod("b"))
    api.replies = {("a", "/status"): reply, ("b", "/status"): status("b", "web-1")}
    planes = planes_of(api)
    found = merge_status(planes, await planes.ask("/status"))
    first, second = found["control_planes"]
    assert trouble in first["trouble"]
    assert (first["version"], first["sidecars"], second["trouble"]) == ("0.0.9", None, "")
    assert [(each["pod"], each["control_plane"]) for each in found["sidecars"]] == [("web-1", "b")]


async def test_an_older_release_has_no_reader() -> None:
    api = AskedApi(pod("a"))
    api.refuse["serviceaccounts"] = refused(404, "not found")
    (answer,) = await planes_of(api).ask("/status")
    assert isinstance(answer, Silent)
    assert answer.trouble == "there is no service account heddle-reader: its release is older"


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (404, "it is being uninstalled: there is no Deployment heddle any more"),
        (403, "there is no service account heddle-reader: it is being uninstalled, or its release is older"),
    ],
)
async def test_an_uninstallation_under_way_is_no_older_release(code: int, trouble: str) -> None:
    api = AskedApi(pod("a"))
    api.refuse["serviceaccounts"] = refused(404, "not found")
    api.refuse["/deployments/"] = refused(code, "no")
    (answer,) = await planes_of(api).ask("/status")
    assert isinstance(answer, Silent)
    assert answer.trouble == trouble


@pytest.mark.parametrize(
    ("part", "right"),
    [
        ("/pods", "list pods in the namespace heddle-system"),
        ("/token", "create serviceaccounts/token heddle-reader in the namespace heddle-system"),
        ("/proxy/", "get pods/proxy in the namespace heddle-system"),
    ],
)
async def test_a_missing_right_is_named(part: str, right: str) -> None:
    api = AskedApi(pod("a"))
    api.refuse[part] = refused(403, "User x cannot", "Forbidden")
    with pytest.raises(CannotAsk, match=right) as raised:
        await planes_of(api).ask("/status")
    assert "User x cannot" in str(raised.value)


async def test_no_control_plane_and_no_api_server() -> None:
    with pytest.raises(CannotAsk, match=r"no control plane runs in heddle-system of https://api: name"):
        await planes_of(AskedApi()).ask("/status")
    with pytest.raises(CannotAsk, match="of revision heddle-canary"):
        await planes_of(AskedApi(pod("a")), "heddle-canary").ask("/status")
    api = AskedApi(pod("a"))
    api.replies["a", "/status"] = Unreachable("gone")
    with pytest.raises(Unreachable):
        await planes_of(api).ask("/status")


async def test_findings_that_all_have_are_told_once_and_pending_says_where() -> None:
    api = AskedApi(pod("a"), pod("b"))
    mine = {"code": "Y", "severity": "info"}
    api.replies = {
        ("a", "/status"): status("a", pending=["pods: not read yet"]),
        ("b", "/status"): status("b", findings=[{"code": "X", "severity": "info"}, mine]),
    }
    planes = planes_of(api)
    found = merge_status(planes, await planes.ask("/status"))
    assert [each["code"] for each in found["findings"]] == ["X", "Y"]
    assert found["pending"] == ["pods: not read yet (at a)"]
    assert (found["mesh"], found["directory"]) == (NAMESPACE, "https://api")


async def test_a_wait_asks_again_until_nobody_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_status, "_PAUSE_SECONDS", 0.01)
    api = AskedApi(pod("a"), pod("b"))
    gone = refused(503, "error trying to reach service", "ServiceUnavailable")
    late = status("a", outcome="late", late=["sidecar web-1.shop"])
    api.replies = {
        ("a", "/wait"): [late, status("a", outcome="applied", late=[])],
        ("b", "/wait"): [gone, gone, status("b", outcome="rejected", late=[])],
    }
    found = await wait_everywhere(planes_of(api), 30)
    assert (found["outcome"], found["late"]) == ("rejected", [])
    assert api.asked[0].startswith("/wait?timeout=20")


async def test_a_wait_names_who_is_late_when_its_time_is_up() -> None:
    api = AskedApi(pod("a"), pod("b"))
    api.replies = {
        ("a", "/wait"): status("a", outcome="late", late=["sidecar web-1.shop"]),
        ("b", "/wait"): refused(503, "refused", "ServiceUnavailable"),
    }
    found = await wait_everywhere(planes_of(api), 0.01)
    assert (found["outcome"], found["late"]) == ("late", ["b: refused", "sidecar web-1.shop (at a)"])


async def test_a_configuration_is_that_of_the_newest_stream() -> None:
    api = AskedApi(pod("a"), pod("b"), pod("c"))
    absent = refused(404, "pod web-1 in namespace shop is not connected", REASON)
    api.replies = {
        ("a", "/x"): {"connected": "2026-01-01", "control_plane": "a"},
        ("b", "/x"): {"connected": "2026-01-02", "control_plane": "b"},
        ("c", "/x"): absent,
    }
    answers = await planes_of(api).ask("/x")
    assert choose_config(answers)["control_plane"] == "b"
    declined = answers[2]
    assert isinstance(declined, Declined)
    silent = Silent(replica=answers[0].replica, trouble="no answer")
    with pytest.raises(CannotAsk, match=r"^pod web-1 in namespace shop is not connected$"):
        choose_config((declined,))
    with pytest.raises(CannotAsk, match=r"is not connected; 1 of 2 control planes cannot be asked: a \(no answer\)"):
        choose_config((silent, declined))


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    rejection = {
        "namespace": "shop",
        "pod": "web-1",
        "type": "cluster",
        "resources": ["c"],
        "reason": "no",
        "control_plane": "a",
    }
    _print(
        {
            "mesh": NAMESPACE,
            "directory": "https://api",
            "control_planes": [
                plane("a", leading=True, trouble=""),
                plane("b", generation=None, sidecars=None, leading=None, version="", trouble="refused"),
            ],
            "sidecars": [
                {**sidecar("web-1"), "control_plane": "a"},  # by a version that does not say how it learns
                {**sidecar("web-2"), "control_plane": "a", "on_demand": True},
            ],
            "rejections": [rejection],
            "pending": [],
            "findings": [],
        }
    )
    assert capsys.readouterr().out.splitlines() == [
        "mesh heddle-system of https://api",
        "CONTROL PLANE  RELEASE  REVISION  CONFIGURATION  SIDECARS  STATE",
        "a              0.1.0    heddle    4              1         leads",
        "b              ?        heddle    ?              ?         cannot be asked",
        "",
        "SIDECAR     CONTROL PLANE  XDS               STATE    RESOURCES (* not acknowledged yet, ! rejected)",
        "web-1.shop  a              delta             current  cluster 2",
        "web-2.shop  a              delta, on demand  current  cluster 2",
        "REJECTED by web-1.shop at a: cluster: no",
        "  in c",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "-n", "x"], "--namespace: only with --kubernetes"),
        (["status", "--context", "x", "--revision", "y"], "--context, --revision: only with --kubernetes"),
        (["status", "--kubernetes", "--mesh", "x"], "not with --kubernetes"),
        (["config", "all", "web", "--system-namespace", "x"], "--system-namespace: only with --kubernetes"),
        (["config", "all", "web"], "heddle config ... --kubernetes"),
        (["status"], "heddle status --kubernetes"),
    ],
)
def test_where_the_mesh_is_must_be_clear(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HEDDLE_STATE", str(tmp_path))
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
