"""What the runtime tells other commands, and how they read it."""

from __future__ import annotations

import argparse
from ipaddress import ip_address
from pathlib import Path

import pytest

from heddle.local import commands
from heddle.local.execute import find_container, find_pod
from heddle.local.mesh_state import (
    ContainerState,
    MeshState,
    PodState,
    ServiceState,
    encode_state,
    read_state,
    write_state,
)
from heddle.local.names import Found, look_up
from heddle.local.progress import Progress
from heddle.local.service_proxy import Endpoint as Backend
from heddle.local.service_tables import to_name_table, to_service_ports
from heddle.local.show_status import to_json
from heddle.meshes import MeshHome
from heddle.pod_names import NoSuchPod
from model.mesh import Mesh
from model.problems import ObjectRef
from model.services import Endpoint, Protocol, Resolution, Service, ServicePort

CONTAINER = ContainerState(
    name="app", phase="Running", reason="", restarts=0, ready=True, environment={"TOKEN": "hunter2"},
    directory="/", log="/x",
)  # fmt: skip
POD = PodState(
    namespace="shop", name="web-0", workload="web", workload_kind="StatefulSet", labels={"app": "web"}, ip="10.1.1.1",
    ready=True, sidecar=True, phase="Running", reason="", restarts=0,
    handle={"network": "/proc/2/fd/5", "mount": "/proc/2/fd/6", "hostname": "/proc/2/fd/7"}, containers=(CONTAINER,),
)  # fmt: skip
STATE = MeshState(
    isolation="root", process=(7, 9), settled=True, pods=(POD,),
    services=(ServiceState(namespace="shop", name="web", ip="None"),),
)  # fmt: skip


def test_the_state_reads_back_as_it_was_written(tmp_path: Path) -> None:
    home = MeshHome(path=tmp_path)
    assert read_state(home) is None
    write_state(home, encode_state(STATE))
    assert read_state(home) == STATE
    assert (tmp_path / "pods.json").stat().st_mode & 0o777 == 0o600


def test_status_has_the_documented_keys_and_no_environment() -> None:
    found = to_json("mesh", STATE)
    assert found["services"] == [{"namespace": "shop", "name": "web", "ip": "None"}]
    pods = found["pods"]
    assert isinstance(pods, list)
    assert {"namespace", "name", "labels", "ip", "ready", "sidecar"} <= set(pods[0])
    assert "hunter2" not in str(found)


def test_choosing_pods_and_containers() -> None:
    assert find_pod(STATE, "sts/web", None) is POD
    assert find_container(POD, None) is CONTAINER
    with pytest.raises(NoSuchPod, match="there are: app"):
        find_container(POD, "istio-proxy")


@pytest.mark.parametrize(
    ("given", "pod", "namespace", "command"),
    [
        (["exec", "web", "-n", "shop", "--", "ls", "-n", "--", "x"], "web", "shop", ["ls", "-n", "--", "x"]),
        (["exec", "-n", "shop", "web", "--", "ls"], "web", "shop", ["ls"]),
        (["exec", "deploy/web", "--"], "deploy/web", None, []),
        (["exec", "web"], "web", None, None),
    ],
)
def test_the_command_is_what_stands_after_the_dashes(
    given: list[str], pod: str, namespace: str | None, command: list[str] | None
) -> None:
    parser = argparse.ArgumentParser()
    commands.add_arguments(parser)
    args = parser.parse_args(given)
    assert (args.pod, args.namespace, args.exec_command) == (pod, namespace, command)


def test_progress_says_each_thing_once() -> None:
    said: list[str] = []
    progress = Progress(mesh="m", write=said.append)
    waiting = MeshState(isolation="root", process=None, settled=False, stuck=("pod a: no command",), pods=(POD,))
    for state in (waiting, waiting, STATE):
        progress.show(state)
    assert said == ["pods 1/1 ready", "pod a: no command", "pods 1/1 ready: mesh m is up"]


def _service(name: str, resolution: Resolution, addresses: tuple[str, ...] = ()) -> Service:
    return Service(
        ref=ObjectRef(kind="Service", namespace="shop", name=name),
        resolution=resolution,
        addresses=addresses,
        ports=(ServicePort(number=80, protocol=Protocol.HTTP, target=8080),),
        external_name="example.com" if resolution is Resolution.EXTERNAL_NAME else "",
    )


def test_names_and_rules_lead_to_ready_pods_only() -> None:
    services = [
        _service("web", Resolution.CLUSTER_IP, ("10.1.128.1",)),
        _service("db", Resolution.HEADLESS),
        _service("out", Resolution.EXTERNAL_NAME),
    ]
    endpoints = (
        Endpoint(address="10.1.1.1", ports={80: 8080}, hostname="db-0"),
        Endpoint(address="10.1.1.2", ports={80: 8080}, hostname="db-1", ready=False),
    )
    mesh = Mesh(
        services={service.host: service for service in services},
        endpoints={service.host: endpoints for service in services[:2]},
    )
    table = to_name_table(mesh)
    ready = ip_address("10.1.1.1")
    assert look_up(table, "web.shop.svc.cluster.local") == Found(through=(), addresses=(ip_address("10.1.128.1"),))
    assert look_up(table, "db.shop.svc.cluster.local") == Found(through=(), addresses=(ready,))
    assert look_up(table, "db-0.db.shop.svc.cluster.local") == Found(through=(), addresses=(ready,))
    assert table.aliases == {"out.shop.svc.cluster.local": "example.com"}
    (port,) = to_service_ports(mesh)
    assert (port.port, port.protocol, port.endpoints) == (80, "tcp", (Backend(address=ready, port=8080),))


def test_a_service_without_a_ready_pod_leads_to_those_that_still_serve() -> None:
    web = _service("web", Resolution.CLUSTER_IP, ("10.1.128.1",))
    endpoints = (
        Endpoint(address="10.1.1.1", ports={80: 8080}, ready=False, draining=True),
        Endpoint(address="10.1.1.2", ports={80: 8080}, ready=False),
    )
    (port,) = to_service_ports(Mesh(services={web.host: web}, endpoints={web.host: endpoints}))
    assert port.endpoints == (Backend(address=ip_address("10.1.1.1"), port=8080),)
