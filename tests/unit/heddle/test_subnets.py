"""Subnets that are reserved among meshes which begin and end beside each other."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from heddle.local.subnets import remove_free_locks, reserve_subnet


def test_only_what_is_held_has_a_file(tmp_path: Path) -> None:
    held, ended = reserve_subnet(tmp_path), reserve_subnet(tmp_path)
    assert held.subnet != ended.subnet
    os.close(ended.lock)
    remove_free_locks(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"subnet-{held.subnet.network.network_address}.lock"]
    os.close(held.lock)


def test_no_subnet_is_reserved_twice_while_free_ones_are_cleared_away(tmp_path: Path) -> None:
    present: set[str] = set()

    def come_and_go() -> None:
        for _ in range(300):
            reservation = reserve_subnet(tmp_path)
            name = str(reservation.subnet.network)
            assert name not in present
            present.add(name)
            present.remove(name)
            os.close(reservation.lock)
            remove_free_locks(tmp_path)

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(come_and_go) for _ in range(3)]:
            done.result()
