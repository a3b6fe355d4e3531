"""`heddle inject` and `heddle check-inject`."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest

from heddle.main import main
from tests.kubernetes_api.server import FakeApiServer, Refuse, running

WEB = """\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {heddle.io/inject: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec: {containers: [{name: app}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: shop}
spec:
  template:
    spec: {hostNetwork: true, containers: [{name: app}]}
"""
BAD = WEB.replace("template:", 'template:\n    metadata: {annotations: {sidecar.istio.io/proxyCPU: "lots"}}', 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "web.yaml"
    path.write_text(WEB)
    return path


def test_inject_prints_manifests_and_says_who_is_left_out(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inject", "-f", str(file), "--proxy-image", "own/envoy:2"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("name: istio-proxy") == 1
    assert "own/envoy:2" in printed.out
    assert "DaemonSet/shop/agent: no sidecar: the pod is on the host's network" in printed.err


def test_inject_reads_what_it_is_piped(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["inject", "-f", str(file)])
    once = capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(once.encode())))
    assert main(["inject", "-f", "-"]) == 0
    assert capsys.readouterr().out == once


def test_after_an_error_nothing_is_printed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(BAD)
    assert main(["inject", "-f", str(file)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{file}:10" in printed.err
    assert "sidecar.istio.io/proxyCPU" in printed.err
    assert "fix: Write a quantity" in printed.err


@pytest.mark.parametrize("more", [["-f", "/nowhere"], ["-f", "FILE", "--xds", "nowhere"]])
def test_what_cannot_be_done_is_said(file: Path, capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    assert main(["inject", *(str(file) if one == "FILE" else one for one in more)]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_check_inject_says_why(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-inject", "-f", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "NamespaceEnabled" in printed
    assert "HostNetwork" in printed
    assert "to change that: DaemonSet/shop/agent:" in printed
    assert main(["check-inject", "-f", str(file), "deploy/web"]) == 0
    assert main(["check-inject", "-f", str(file), "ds/agent", "-n", "shop"]) == 1


def test_check_inject_for_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(BAD)
    assert main(["check-inject", "-f", str(file), "-o", "json", "web"]) == 1
    said = json.loads(capsys.readouterr().out)
    (pod,) = said["pods"]
    assert (pod["resource"], pod["injected"], pod["reason"]) == ("Deployment/shop/web", False, "NamespaceEnabled")
    assert [finding["code"] for finding in said["findings"]] == ["InvalidValue"]


def test_check_inject_of_what_is_not_there(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-inject", "-f", str(file), "deploy/other"]) == 2
    assert "there are: Deployment/shop/web" in capsys.readouterr().err


def test_settings_of_a_file_and_arguments_that_win(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = file.parent / "settings.txt"
    settings.write_text("revision: heddle-2\ninjection: {proxyImage: own/envoy:3, initImage: own/heddle:3}")
    assert main(["inject", "-f", str(file), "--settings", str(settings), "--init-image", "other:4"]) == 0
    printed = capsys.readouterr().out
    assert ("own/envoy:3" in printed, "other:4" in printed, "own/heddle:3" in printed) == (True, True, False)
    # The namespace's label is for the default revision.
    assert main(["check-inject", "-f", str(file), "--settings", str(settings)]) == 1
    assert "OtherRevision" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["inject", "check-inject"])
def test_wrong_settings_are_told_with_their_line(file: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    settings = file.parent / "settings.txt"
    settings.write_text("injection:\n  proxyimage: own/envoy:3")
    assert main([command, "-f", str(file), "--settings", str(settings)]) == 2
    said = capsys.readouterr().err
    assert f"{settings}:2: injection.proxyimage" in said
    assert "Did you mean proxyImage?" in said


POD = """\
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, annotations: {heddle.io/injected: '{"revision":"heddle"}'}}
spec: {containers: [{name: app}]}
"""


@pytest.mark.parametrize("command", ["inject", "check-inject"])
def test_a_file_that_is_not_there_is_named_with_a_fix(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "-f", "/nonexist"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("heddle: /nonexist: no such file or directory; name a file")
    assert "Errno" not in said


def test_check_inject_says_that_a_namespace_is_missing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(POD)
    assert main(["check-inject", "-f", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "not known: the Namespace shop is not in the input" in printed
    assert "--kubernetes" in printed
    assert main(["check-inject", "-f", str(file), "-o", "json"]) == 1
    assert "Namespace shop" in json.loads(capsys.readouterr().out)["pods"][0]["missing"]
    file.write_text(WEB)
    main(["check-inject", "-f", str(file)])
    assert "not known" not in capsys.readouterr().out


async def test_check_inject_reads_the_namespace_from_a_cluster(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(POD)
    async with running(FakeApiServer()) as server:
        labels = {"heddle.io/inject": "enabled"}
        server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}})
        arguments = ["check-inject", "-f", str(file), "--kubeconfig", str(server.write_kubeconfig(tmp_path / "config"))]
        assert await asyncio.to_thread(main, arguments) == 0
        printed = capsys.readouterr().out
        assert "NamespaceEnabled" in printed
        assert "not known" not in printed
    assert await asyncio.to_thread(main, arguments) == 2
    assert "the namespaces cannot be read" in capsys.readouterr().err


LABELLED = {"istio": {"istio-injection": "enabled"}, "canary": {"istio.io/rev": "heddle-canary"}}
DEFAULT = {"heddle.io/inject": "enabled"}


def put_revision(server: FakeApiServer, name: str, settings: str | None, *, namespace: str = "heddle-system") -> None:
    """As the chart has it."""
    labels = {"app.kubernetes.io/part-of": "heddle", "heddle.io/revision": name}
    place = {"name": name, "namespace": namespace, "labels": labels}
    arguments = ["serve", "--kubernetes", "--settings", "/etc/heddle/settings.yaml", "--revision", name]
    containers = [{"name": "heddle", "args": arguments}]
    deployment = {"kind": "Deployment", "metadata": place, "spec": {"template": {"spec": {"containers": containers}}}}
    server.put({"apiVersion": "apps/v1", **deployment})
    if settings is not None:
        data = {"settings.yaml": settings}
        server.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": place, "data": data})


TAKES_OVER = {"heddle": "injection: {takeOverIstioInjection: true}"}
CANARY = {"heddle": "", "heddle-canary": "injection: {takeOverIstioInjection: true}"}
EXCLUDES = {"heddle": "injection: {excludedNamespaces: [shop]}"}
CANARY_DEFAULT = {"heddle": "injection: {isDefault: false}", "heddle-canary": "injection: {isDefault: true}"}


@pytest.mark.parametrize(
    ("installed", "labels", "options", "reason"),
    [
        (TAKES_OVER, LABELLED["istio"], [], "NamespaceEnabled"),
        ({"heddle": ""}, LABELLED["istio"], [], "LeftToIstio"),
        ({"heddle": ""}, LABELLED["istio"], ["--istio-injection"], "NamespaceEnabled"),
        (EXCLUDES, DEFAULT, [], "SystemNamespace"),
        (CANARY, LABELLED["canary"], [], "NamespaceEnabled"),
        (CANARY, DEFAULT, [], "NamespaceEnabled"),
        (CANARY, {}, [], "NotAsked"),
        # Not the default, so that nobody asks it.
        (CANARY, LABELLED["istio"], [], "LeftToIstio"),
        (CANARY_DEFAULT, DEFAULT, [], "NamespaceEnabled"),
        (CANARY, LABELLED["canary"], ["--revision", "heddle"], "OtherRevision"),
        (CANARY, LABELLED["canary"], ["--revision", "canary"], "NamespaceEnabled"),
        (CANARY, DEFAULT, ["--revision", "canary"], "OtherRevision"),
        # What a file says wins.
        (EXCLUDES, DEFAULT, ["--settings", "FILE"], "NamespaceEnabled"),
    ],
)
async def test_check_inject_goes_by_the_settings_that_are_installed(
    installed: dict[str, str],
    labels: dict[str, str],
    options: list[str],
    reason: str,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file.write_text(POD)
    own = tmp_path / "own.txt"
    own.write_text("injection: {logLevel: info}")
    async with running(FakeApiServer()) as server:
        server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}})
        for name, settings in installed.items():
            put_revision(server, name, settings)
        arguments = ["check-inject", "-f", str(file), "--kubeconfig", str(server.write_kubeconfig(tmp_path / "config"))]
        arguments += [str(own) if option == "FILE" else option for option in options]
        await asyncio.to_thread(main, [*arguments, "-o", "json"])
    printed = capsys.readouterr()
    assert json.loads(printed.out)["pods"][0]["reason"] == reason
    assert printed.err == ""


@pytest.mark.parametrize(
    ("installed", "refused", "options", "said"),
    [
        ({}, "", [], "Heddle is not installed in heddle-system (--system-namespace)"),
        ({"heddle": ""}, "", ["--revision", "canary"], "heddle-canary is not installed in heddle-system"),
        ({"heddle": None}, "", [], "there is no ConfigMap heddle in heddle-system with settings.yaml"),
        ({"heddle": "injection: {new: 1}"}, "", [], "ConfigMap heddle in heddle-system:1: injection.new"),
        ({"heddle": ""}, "configmaps", [], "ConfigMap heddle in heddle-system: not you"),
        ({"heddle": ""}, "deployments.apps", [], "the Deployments in heddle-system cannot be read: not you"),
    ],
)
async def test_check_inject_says_which_settings_it_could_not_read_and_goes_on(
    installed: dict[str, str | None],
    refused: str,
    options: list[str],
    said: str,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file.write_text(POD)
    labels = {"istio.io/rev": "heddle-canary"} if options else DEFAULT
    async with running(FakeApiServer()) as server:
        server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}})
        for name, settings in installed.items():
            put_revision(server, name, settings)
        if refused:
            server.refuse[refused] = Refuse(403, "not you")
        arguments = ["check-inject", "-f", str(file), "--kubeconfig", str(server.write_kubeconfig(tmp_path / "config"))]
        assert await asyncio.to_thread(main, [*arguments, *options]) == 0
    printed = capsys.readouterr()
    assert "NamespaceEnabled" in printed.out
    assert said in printed.err
    assert "to be the default" in printed.err


async def test_check_inject_looks_for_the_installation_where_it_is_told(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(POD)
    async with running(FakeApiServer()) as server:
        server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": DEFAULT}})
        put_revision(server, "heddle", EXCLUDES["heddle"], namespace="mesh")
        arguments = ["check-inject", "-f", str(file), "--kubeconfig", str(server.write_kubeconfig(tmp_path / "config"))]
        assert await asyncio.to_thread(main, [*arguments, "--system-namespace", "mesh"]) == 1
    printed = capsys.readouterr()
    assert "SystemNamespace" in printed.out
    assert printed.err == ""
    assert main(["check-inject", "-f", str(file), "--system-namespace", "mesh"]) == 2
    assert "only with --kubernetes" in capsys.readouterr().err
