"""The status of a cluster's mesh: what all its control planes say, as one."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Any, Final

from heddle.cluster.admin_protocol import LONGEST_WAIT_SECONDS
from heddle.cluster.ask_replicas import Answer, Answered, ControlPlanes, Declined, run_with_control_planes

_PAUSE_SECONDS: Final = 0.5
"""Before a control plane that does not answer is asked again."""


def ask_status(args: argparse.Namespace) -> dict[str, Any]:
    """As the admin socket answers `/status`, or `/wait` for `args.wait`; each thing with its `control_plane`.

    A control plane that cannot be asked has `trouble`. Raises CannotAsk.
    """

    async def ask(planes: ControlPlanes) -> dict[str, Any]:
        if args.wait:
            return await wait_everywhere(planes, args.timeout)
        return merge_status(planes, await planes.ask("/status"))

    return run_with_control_planes(args, ask)


async def wait_everywhere(planes: ControlPlanes, timeout: float) -> dict[str, Any]:
    """Until every control plane there is has brought what there is to all its sidecars, for `timeout` seconds."""
    time = asyncio.get_running_loop().time
    deadline = time() + timeout
    while True:
        left = max(0.0, deadline - time())
        answers = await planes.ask("/wait", {"timeout": f"{min(left, LONGEST_WAIT_SECONDS):.3f}"})
        merged = merge_status(planes, answers)
        silent = [each for each in merged["control_planes"] if each["trouble"]]
        late = [f"{each['name']}: {each['trouble']}" for each in silent]
        for answer in answers:
            if isinstance(answer, Answered):
                late += [f"{each} (at {answer.replica.pod})" for each in answer.found.get("late", ())]
        if not late or time() >= deadline:
            outcomes = {answer.found.get("outcome") for answer in answers if isinstance(answer, Answered)}
            outcome = "late" if late else "rejected" if "rejected" in outcomes else "applied"
            return {**merged, "outcome": outcome, "late": late}
        if silent:
            await asyncio.sleep(min(_PAUSE_SECONDS, max(0.0, deadline - time())))


def merge_status(planes: ControlPlanes, answers: Sequence[Answer]) -> dict[str, Any]:
    """Findings that several have are told once."""
    merged: dict[str, Any] = {
        "mesh": planes.namespace,
        "directory": planes.place.rpartition(" of ")[2],
        "control_planes": [_describe(answer) for answer in answers],
        "sidecars": [],
        "rejections": [],
        "pending": [],
        "findings": [],
    }
    for answer in answers:
        if not isinstance(answer, Answered):
            continue
        name = answer.replica.pod
        for part in ("sidecars", "rejections"):
            merged[part] += [{**each, "control_plane": name} for each in answer.found[part]]
        merged["pending"] += [f"{each} (at {name})" for each in answer.found["pending"]]
        merged["findings"] += [each for each in answer.found["findings"] if each not in merged["findings"]]
    merged["sidecars"].sort(key=lambda each: (each["namespace"], each["pod"], each["control_plane"]))
    return merged


def _describe(answer: Answer) -> dict[str, Any]:
    """As a control plane does itself; what its pod says of one that cannot be asked."""
    if isinstance(answer, Answered):
        return {**answer.found["control_planes"][0], "name": answer.replica.pod, "trouble": ""}
    trouble = answer.words if isinstance(answer, Declined) else answer.trouble
    unknown = dict.fromkeys(("generation", "sidecars", "leading"))
    replica = answer.replica
    return {
        "name": replica.pod,
        "version": replica.version,
        "revision": replica.revision,
        **unknown,
        "trouble": trouble,
    }
