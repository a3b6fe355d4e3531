import json
import os
import subprocess
import sys
from dataclasses import asdict
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from heddle.local import programs
from heddle.local.addresses import AddressUnavailable
from heddle.local.enter import CONTAINER_CAPABILITIES, MeshGone, PodHandle, pod_command, run_in_pod
from heddle.local.init import exit_status, start_time
from heddle.local.isolation import (
    Isolation,
    IsolationRefused,
    MeshProcess,
    Probe,
    mesh_process,
    probe,
    run_isolated,
    without_mesh_process,
)
from heddle.local.subnets import host_networks, reserve_subnet

POD = PodHandle(network="/proc/2/fd/4", mount="/proc/2/fd/5", hostname="/proc/2/fd/6")


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", "/nonexistent")
    programs.find_program.cache_clear()


@pytest.mark.usefixtures("no_programs")
def test_without_the_programs_only_loopback_is_left() -> None:
    found = probe()
    programs.find_program.cache_clear()
    assert found.isolation is Isolation.LOOPBACK
    assert "user-namespace: program not found: ip" in found.reason


@pytest.mark.usefixtures("no_programs")
def test_isolation_that_was_asked_for_is_refused_with_the_reason() -> None:
    with pytest.raises(IsolationRefused, match="program not found: ip"):
        probe(Isolation.USER_NAMESPACE)
    programs.find_program.cache_clear()


def test_loopback_always_works_and_runs_nothing() -> None:
    assert probe(Isolation.LOOPBACK) == Probe(isolation=Isolation.LOOPBACK, reason="")
    with pytest.raises(ValueError, match="no namespaces"):
        run_isolated(Isolation.LOOPBACK, ("true",))


def test_a_mesh_process_survives_its_environment_variable() -> None:
    process = MeshProcess(isolation=Isolation.ROOT, pid=7, started=9, host_network=3, resolvers=(4, 5))
    variable = json.dumps({**asdict(process), "isolation": "root"})
    environment = {"HEDDLE_MESH_PROCESS": variable, "PATH": "/bin"}
    assert mesh_process(environment) == process
    assert without_mesh_process(environment) == {"PATH": "/bin"}
    with pytest.raises(KeyError):
        mesh_process({})


def test_a_process_is_known_by_its_start() -> None:
    assert start_time("self") == start_time(os.getpid())
    assert start_time(os.getpid()) >= start_time(1)


def test_a_mesh_that_is_gone_is_not_entered() -> None:
    ended = subprocess.Popen(("true",))
    ended.wait()
    with pytest.raises(MeshGone):
        run_in_pod((ended.pid, 1), POD, ("true",), environment={})
    with pytest.raises(MeshGone, match="not the mesh any more"):
        run_in_pod((os.getpid(), 0), POD, ("true",), environment={})


@pytest.mark.parametrize(("wait_status", "expected"), [(0, 0), (7 << 8, 7), (15, 143), (9, 137)])
def test_exit_status_is_a_shells(wait_status: int, expected: int) -> None:
    assert exit_status(wait_status) == expected


def test_pod_commands_replace_themselves_down_to_the_program() -> None:
    plain = pod_command(POD, ("program", "--flag"), directory="/srv")
    assert [word.rpartition("/")[2] for word in plain[:1]] == ["nsenter"]
    assert plain[1:5] == ("--net=/proc/2/fd/4", "--mount=/proc/2/fd/5", "--uts=/proc/2/fd/6", "--wd=/srv")
    assert plain[5:] == ("--", "program", "--flag")
    limited = pod_command(POD, ("program",), user=1337, capabilities=CONTAINER_CAPABILITIES)
    assert limited[-5:] == ("--reuid=1337", "--regid=1337", "--clear-groups", "--", "program")
    bounding = next(word for word in limited if word.startswith("--bounding-set="))
    assert bounding.startswith("--bounding-set=-all,+chown,")
    assert "net_admin" not in bounding
    assert "sys_admin" not in bounding


def test_meshes_side_by_side_get_different_subnets(tmp_path: Path) -> None:
    one = reserve_subnet(tmp_path / "state")
    two = reserve_subnet(tmp_path / "state", taken=(IPv4Network("10.211.0.0/16"),))
    assert (one.subnet.network, two.subnet.network) == (IPv4Network("10.210.0.0/16"), IPv4Network("10.212.0.0/16"))
    os.close(one.lock)
    again = reserve_subnet(tmp_path / "state")
    assert again.subnet == one.subnet
    os.close(two.lock)
    os.close(again.lock)
    with pytest.raises(AddressUnavailable):
        reserve_subnet(tmp_path / "state", taken=(IPv4Network("10.0.0.0/8"),))


def test_a_crash_frees_its_subnet(tmp_path: Path) -> None:
    source = (
        "import os, signal, pathlib, sys; from heddle.local.subnets import reserve_subnet; "
        "reserve_subnet(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run(
        (sys.executable, "-c", source, str(tmp_path)),
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    freed = reserve_subnet(tmp_path)
    assert freed.subnet.network == IPv4Network("10.210.0.0/16")
    os.close(freed.lock)


def test_a_mesh_without_a_link_to_its_host_shares_no_routes() -> None:
    assert host_networks(None) == ()
