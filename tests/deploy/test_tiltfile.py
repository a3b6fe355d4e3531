"""The Tiltfiles do what they say: executed, with Tilt's functions recorded, and the commands they run run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from starlark import StarlarkError

from tests.deploy.tilt import CONTEXT, Recorded, TiltfileError, run_tiltfile

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
HEDDLE = str(ROOT / ".venv" / "bin" / "heddle")


@pytest.fixture(scope="module")
def in_cluster() -> Recorded:
    return run_tiltfile(ROOT / "Tiltfile", "--cluster")


def item(recorded: Recorded, kind: str, name: str) -> dict[str, Any]:
    (found,) = (one for one in recorded.objects if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def test_on_this_machine_nothing_of_a_cluster_is_touched() -> None:
    recorded = run_tiltfile(ROOT / "Tiltfile")
    assert set(recorded.resources) == {"setup", "mesh", "analyze", "split"}
    assert (recorded.objects, recorded.images, recorded.ran) == ([], {}, [])
    assert run_tiltfile(ROOT / "Tiltfile", "mesh").resources.keys() == recorded.resources.keys()


def test_every_folder_of_code_restarts_the_mesh() -> None:
    text = (ROOT / "Tiltfile").read_text()
    for package in ("heddle", "injector", "model", "protos", "sds", "sources", "translators", "xds"):
        assert f"'{package}'" in text


def test_heddle_is_built_and_its_files_go_into_the_running_container(in_cluster: Recorded) -> None:
    steps = in_cluster.images["heddle"]["live_update"]
    assert steps[0]["step"] == "fall_back_on"
    synced = {Path(step["local"]).name: step["remote"] for step in steps if step["step"] == "sync"}
    assert synced["xds"] == "/opt/heddle/app/xds"
    assert set(synced) <= set(in_cluster.images["heddle"]["only"])
    container = item(in_cluster, "Deployment", "heddle")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "heddle:0.1.0"
    assert container["command"][0] == "watchfiles"
    assert container["command"][3].startswith("heddle serve --kubernetes --xds 0.0.0.0:15012")
    assert "args" not in container
    # Still what Pod Security `restricted` takes.
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_kinds_are_applied_by_heddle_and_never_tilts_to_delete(in_cluster: Recorded) -> None:
    assert not [one for one in in_cluster.objects if one["kind"] == "CustomResourceDefinition"]
    command = in_cluster.resources["heddle-kinds"].command
    assert command == [HEDDLE, "install", "--crds-only", "--apply", "--context", CONTEXT]
    assert "heddle-kinds" in in_cluster.configured["heddle"].waits_for
    assert "heddle-kinds" in in_cluster.configured["shop-mesh"].waits_for


def test_the_shop_is_injected_before_tilt_sees_it(in_cluster: Recorded) -> None:
    pod = item(in_cluster, "Deployment", "frontend")["spec"]["template"]["spec"]
    # By these names Tilt leaves their logs out of its panes.
    assert [one["name"] for one in pod["initContainers"]] == ["istio-init", "istio-proxy"]
    # The image that Tilt builds, so that Tilt replaces it.
    assert pod["initContainers"][0]["image"] == "heddle"
    assert [one["image"] for one in pod["containers"]] == ["heddle/shop"]
    assert in_cluster.configured["frontend"].port_forwards == ("8080:8080",)
    assert set(in_cluster.configured["shop-mesh"].objects) >= {"users:virtualservice:shop"}
    assert str(ROOT / "examples" / "shop") in in_cluster.watched


def test_every_object_of_the_installation_is_in_heddles_resource(in_cluster: Recorded) -> None:
    objects = in_cluster.configured["heddle"].objects
    assert "heddle:clusterrole" in objects
    assert "heddle-injector:mutatingwebhookconfiguration" in objects
    assert "heddle:configmap:heddle-system" in objects


def test_buttons_change_what_is_there(in_cluster: Recorded) -> None:
    for name in ("split-even", "split-as-written", "fault-on", "fault-off"):
        resource = in_cluster.resources[name]
        assert resource.manual
        assert resource.command[:3] == ["kubectl", "--context", CONTEXT]
        kind, target = resource.command[6], resource.command[7]
        patched: Any = item(in_cluster, {"virtualservice": "VirtualService"}[kind], target)
        for step in json.loads(resource.command[-1]):
            place: Any = patched
            for part in step["path"].strip("/").split("/"):
                place = place[int(part)] if isinstance(place, list) else place[part]
            assert type(place) is type(step["value"]), step


def test_the_analysis_it_shows_runs(in_cluster: Recorded) -> None:
    done = subprocess.run(in_cluster.resources["analyze"].command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


USERS = """
load({extension!r}, 'heddle_mesh', 'heddle_resource')
docker_build('web', '.', dockerfile_contents='FROM scratch', live_update=[sync('./web.yaml', '/web.yaml')])
heddle_mesh(heddle={heddle!r}, set=['logging.verbose=true'], values=['values.yaml'], image='registry.example/heddle')
heddle_resource(
    'web', 'web.yaml', virtual_service='routing.yaml', port_forwards=['8000:8080'], heddle={heddle!r},
    init_image='registry.example/heddle:0.1.0',
)
"""
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: web}]}
"""
ROUTING = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's own project that loads the extension."""
    extension = str(ROOT / "deploy" / "tilt" / "heddle" / "Tiltfile")
    (tmp_path / "Tiltfile").write_text(USERS.format(extension=extension, heddle=HEDDLE))
    (tmp_path / "web.yaml").write_text(WEB)
    (tmp_path / "routing.yaml").write_text(ROUTING)
    (tmp_path / "values.yaml").write_text("podLabels: {team: mesh}\n")
    return tmp_path


def test_the_extension_serves_somebody_elses_project(project: Path) -> None:
    recorded = run_tiltfile(project / "Tiltfile")
    deployment = item(recorded, "Deployment", "heddle")["spec"]["template"]
    container = deployment["spec"]["containers"][0]
    assert container["image"] == "registry.example/heddle:0.1.0"
    assert "--verbose" in container["args"]
    assert deployment["metadata"]["labels"]["team"] == "mesh"
    assert recorded.configured["web"].objects == ("web:virtualservice",)
    assert recorded.configured["web"].waits_for == ("heddle",)
    init = item(recorded, "Deployment", "web")["spec"]["template"]["spec"]["initContainers"][0]
    assert init["image"] == "registry.example/heddle:0.1.0"
    assert recorded.resources["web-analyze"].command == [HEDDLE, "analyze", "web.yaml", "routing.yaml"]
    done = subprocess.run(recorded.resources["web-analyze"].command, cwd=project, capture_output=True, timeout=60)
    assert done.returncode in (0, 1)
    assert {str(project / name) for name in ("web.yaml", "routing.yaml", "values.yaml")} <= recorded.watched


def test_a_mistake_in_a_manifest_stops_the_tiltfile(project: Path) -> None:
    (project / "web.yaml").write_text("kind: [")
    with pytest.raises((TiltfileError, StarlarkError), match="inject"):
        run_tiltfile(project / "Tiltfile")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("k8s_resource('nobody')", "no such workload"),
        ("local_resource('a', cmd='true', resource_deps=['nobody'])", "waits for"),
        ("local_resource('a', 'true', comand='x')", "unexpected keyword argument 'comand'"),
        (
            "docker_build('x', '.', dockerfile_contents='FROM scratch', live_update=[run('x'), sync('.', '/')])",
            "first fall_back_on, then sync, then run",
        ),
        ("load('ext://uibutton', 'cmd_button')", "fetched from elsewhere"),
        ("docker_build('x', '.', dockerfile_contents='FROM scratch')", "nothing runs the image x"),
    ],
)
def test_what_tilt_refuses_is_refused_here(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "Tiltfile").write_text(text)
    with pytest.raises((TiltfileError, StarlarkError, TypeError), match=why):
        run_tiltfile(tmp_path / "Tiltfile")
