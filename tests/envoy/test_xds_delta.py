"""A real Envoy on the incremental variant, route tables over VHDS without the on-demand filter."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.envoy.xds_toy import free_port, running_envoy, stats, toy_mesh, toy_server, toy_service, until_answers

from xds.events import Event, Rejected

pytestmark = pytest.mark.envoy


async def test_a_changed_route_costs_one_virtual_host(tmp_path: Path) -> None:
    events: list[Event] = []
    first, second = free_port(), free_port()
    others = [toy_service(f"other{number}", first, "other") for number in range(50)]
    async with toy_server(events) as toy:
        toy.server.publish(toy_mesh(toy_service("users", first, "v1"), *others), 1)
        async with running_envoy(tmp_path, ads_port=toy.port, delta=True) as admin:
            await until_answers(first, "users", "v1")
            await until_answers(first, "other49", "other")
            before = await stats(admin, "update_success|control_plane.connected_state|rds")
            print(before)
            toy.server.publish(toy_mesh(toy_service("users", first, "v2"), *others), 2)
            took = await until_answers(first, "users", "v2")
            after = await stats(admin, "update_success|rds")
            print({name: value for name, value in after.items() if before.get(name) != value}, took)
            toy.server.publish(
                toy_mesh(toy_service("users", first, "v2"), toy_service("late", second, "late"), *others), 3
            )
            late = await until_answers(second, "late", "late")
            print("late listener", late)
            assert late < 5
            state = toy.server.state()[0]
            assert state.acknowledged(3)
    assert not [event for event in events if isinstance(event, Rejected)]
