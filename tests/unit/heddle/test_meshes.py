"""Which mesh a command means, and what a crashed one leaves."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from heddle.local.down import clear_home
from heddle.meshes import MeshExists, MeshRecord, NoMesh, all_homes, claim, home_of, running_mesh, state_root


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_STATE", str(tmp_path / "state"))


def start(name: str, started: float) -> int:
    home, lock = claim(name)
    home.write_record(MeshRecord(name=name, directory="/shop", started=started, kind="local"))
    return lock


def test_the_newest_mesh_is_meant() -> None:
    locks = [start("old", 1.0), start("new", 2.0)]
    assert running_mesh(None).name == "new"
    assert running_mesh("old").name == "old"
    for lock in locks:
        os.close(lock)


def test_a_mesh_whose_process_is_gone_does_not_run() -> None:
    os.close(start("gone", 1.0))
    assert [home.name for home in all_homes()] == ["gone"]
    with pytest.raises(NoMesh, match="heddle local up"):
        running_mesh(None)


def test_the_error_names_the_meshes_that_run() -> None:
    lock = start("shop", 1.0)
    with pytest.raises(NoMesh, match="running: shop"):
        running_mesh("other")
    os.close(lock)


def test_a_name_is_taken_while_its_mesh_runs() -> None:
    lock = start("shop", 1.0)
    with pytest.raises(MeshExists, match="--mesh shop"):
        claim("shop")
    os.close(lock)


def test_claiming_again_removes_what_a_crash_left_but_the_authority() -> None:
    home, lock = claim("shop")
    (home.path / "pods").mkdir()
    (home.path / "ca").mkdir()
    (home.path / "admin.sock").touch()
    os.close(lock)
    home, lock = claim("shop")
    assert sorted(path.name for path in home.path.iterdir()) == ["ca", "lock"]
    os.close(lock)


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", "A", "a" * 33])
def test_names_that_are_no_directories_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="names no mesh"):
        home_of(name)


def test_only_the_user_may_look() -> None:
    assert state_root().stat().st_mode & 0o777 == 0o700


def test_meshes_come_and_go_beside_each_other() -> None:
    """Each may be the last one for a moment; what all share is not taken from under the others."""

    def come_and_go(name: str) -> None:
        for _ in range(200):
            home, lock = claim(name)
            os.close(lock)
            assert home in all_homes()
            clear_home(home)

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(come_and_go, name) for name in ("left", "right")]:
            done.result()
