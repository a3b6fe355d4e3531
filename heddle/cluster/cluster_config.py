"""What one sidecar of a cluster was sent, by the control plane that it is connected to."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from heddle.cluster.ask_replicas import (
    Answer,
    Answered,
    CannotAsk,
    ControlPlanes,
    Declined,
    Silent,
    run_with_control_planes,
)
from heddle.pod_names import PodEntry, choose_pod


def ask_config(args: argparse.Namespace) -> dict[str, Any]:
    """As the admin socket answers `/config`. Raises CannotAsk, NoSuchPod."""

    async def ask(planes: ControlPlanes) -> dict[str, Any]:
        pods = {
            (pod["namespace"], pod["name"]): PodEntry(**pod)
            for answer in _answered(await planes.ask("/pods"))
            for pod in answer.found["pods"]
        }
        pod = choose_pod(args.pod, args.namespace, pods.values())
        return choose_config(await planes.ask(f"/config/{pod.namespace}/{pod.name}/{args.kind}"))

    return run_with_control_planes(args, ask)


def choose_config(answers: Sequence[Answer]) -> dict[str, Any]:
    """That of the newest stream: a sidecar that moves has two for a moment. Raises CannotAsk."""
    known = [answer for answer in answers if isinstance(answer, Answered)]
    if known:
        return dict(max(known, key=lambda answer: str(answer.found["connected"])).found)
    # What one that cannot be asked knows, nobody else does.
    silent = _tell_silent(answers)
    declined = next((answer.words for answer in answers if isinstance(answer, Declined)), "")
    raise CannotAsk("; ".join(part for part in (declined, silent) if part))


def _answered(answers: Sequence[Answer]) -> list[Answered]:
    """Raises CannotAsk if there is none."""
    known = [answer for answer in answers if isinstance(answer, Answered)]
    if not known:
        raise CannotAsk(_tell_silent(answers))
    return known


def _tell_silent(answers: Sequence[Answer]) -> str:
    silent = [f"{each.replica.pod} ({each.trouble})" for each in answers if isinstance(each, Silent)]
    return f"{len(silent)} of {len(answers)} control planes cannot be asked: {', '.join(silent)}" if silent else ""
