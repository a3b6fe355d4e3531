"""Gateway pods: a container named `istio-proxy` with the image `auto` is filled in; nothing is captured."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Final

from injector.drain import grace_seconds, sleep_action
from injector.obstacles import AUTO
from injector.pod_values import Json

_BY_NAME: Final = {"env": "name", "volumeMounts": "name", "ports": "containerPort"}
"""Lists that are joined, and what tells their entries apart."""


def fill_container(given: Json, ours: Json) -> Json:
    """The user's container with what it leaves open taken from ours. What it runs it may not choose."""
    filled = copy.deepcopy(ours)
    for name, value in given.items():
        if name in _BY_NAME and value:
            key = _BY_NAME[name]
            named = {entry.get(key) for entry in value}
            filled[name] = [*(entry for entry in ours.get(name, ()) if entry.get(key) not in named), *value]
        elif name in ("command", "args") or (name == "image" and value == AUTO):
            continue
        elif name == "securityContext":
            filled[name] = {**filled[name], **(value or {})}
        else:
            filled[name] = copy.deepcopy(value)
    return filled


def add_gateway_wait(container: Json, pod: Json, drain: timedelta) -> None:
    """A gateway is its own application: it waits before it ends, unless the user or the grace period says otherwise."""
    seconds = min(round(drain.total_seconds()), grace_seconds(pod) // 2)
    lifecycle = container.get("lifecycle") or {}
    if seconds > 0 and not lifecycle.get("preStop"):
        container["lifecycle"] = lifecycle | {"preStop": sleep_action(timedelta(seconds=seconds))}
