"""A pod in, the same pod with its sidecar out. A function of values: nothing is read, nothing is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from injector.bootstrap_text import TooManyProbes, build_bootstrap_text
from injector.capture_container import build_capture_container
from injector.drain import add_wait, grace_seconds, waiting_containers
from injector.gateway import add_gateway_wait, fill_container
from injector.names import CAPTURE, RECORD, SIDECAR, STATUS, TOKEN_SECRET, VOLUMES
from injector.obstacles import is_gateway
from injector.pod_values import Json, annotations_of, containers_of, labels_of
from injector.probes import RewrittenProbe, rewrite_probes
from injector.record import Record, original_pod, write_record
from injector.settings import InjectionSettings
from injector.sidecar_container import (
    build_proxy_container,
    build_sidecar_container,
    build_volumes,
    token_secret,
)
from injector.sidecar_options import SidecarOptions, parse_options
from model.pods import owning_workload
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity

_TEMPLATE_HASH: Final = "pod-template-hash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """`pod` None: there is an error among the problems, and the pod must not run without its sidecar either."""

    pod: Json | None
    problems: tuple[Problem, ...] = ()


def inject_pod(pod: Json, settings: InjectionSettings, *, workload: str = "") -> Injected:
    """Injects a pod of the right shape that `decide` says yes to. The pod itself is not changed.

    `workload` is the name of what makes the pod, found out from the pod if it is empty. Injecting what was injected
    gives the same again. Raises MalformedPod if the pod's record is not ours.
    """
    original = original_pod(pod)
    options, problems = parse_options(annotations_of(original), settings)
    if any(problem.severity is Severity.ERROR for problem in problems):
        return Injected(pod=None, problems=problems)
    problems += _remarks(original)
    name = workload or _workload_of(original)
    try:
        if is_gateway(original):
            return Injected(pod=_inject_gateway(original, options, settings, name), problems=problems)
        return Injected(pod=_inject_sidecar(original, options, settings, name), problems=problems)
    except TooManyProbes as error:
        fix = "Set the annotation sidecar.istio.io/rewriteAppHTTPProbers to false, or use fewer probes."
        problem = Problem(severity=Severity.ERROR, code=ProblemCode.TOO_LARGE, message=str(error), fix=fix)
        return Injected(pod=None, problems=(*problems, problem))


def _inject_sidecar(pod: Json, options: SidecarOptions, settings: InjectionSettings, workload: str) -> Json:
    probes = rewrite_probes(pod) if options.rewrite_probes else ()
    waits = waiting_containers(pod, options.proxy.termination_drain)
    answered = tuple(probe.answered for probe in probes)
    bootstrap = build_bootstrap_text(settings, "sidecar", answered)
    record = Record(
        revision=settings.revision,
        probes=_before(pod, probes),
        waits=waits,
        grace=pod["spec"].get("terminationGracePeriodSeconds"),
    )
    spec = pod["spec"]
    for kind in ("initContainers", "containers"):
        for container in containers_of(pod, kind):
            for probe in probes:
                if probe.container == container["name"]:
                    container[probe.field] = probe.probe
            if kind == "containers" and container["name"] in waits:
                add_wait(container, options.proxy.termination_drain)
    if waits:
        # The application keeps all the time it had.
        spec["terminationGracePeriodSeconds"] = grace_seconds(pod) + round(
            options.proxy.termination_drain.total_seconds()
        )
    sidecar = build_sidecar_container(options, settings, bootstrap=bootstrap, workload=workload)
    ours = [build_capture_container(options.capture, settings), sidecar]
    spec["initContainers"] = [*ours, *containers_of(pod, "initContainers")]
    return _finish(pod, settings, record, [CAPTURE, SIDECAR], [])


def _inject_gateway(pod: Json, options: SidecarOptions, settings: InjectionSettings, workload: str) -> Json:
    bootstrap = build_bootstrap_text(settings, "router", ())
    ours = build_proxy_container(options, settings, bootstrap=bootstrap, workload=workload)
    given = next(container for container in containers_of(pod) if container["name"] == SIDECAR)
    record = Record(revision=settings.revision, gateway=given)
    filled = fill_container(given, ours)
    add_gateway_wait(filled, pod, options.proxy.termination_drain)
    pod["spec"]["containers"] = [filled if container is given else container for container in containers_of(pod)]
    return _finish(pod, settings, record, [], [SIDECAR])


def _finish(
    pod: Json, settings: InjectionSettings, record: Record, init_containers: list[str], containers: list[str]
) -> Json:
    pod["spec"]["volumes"] = [*(pod["spec"].get("volumes") or ()), *build_volumes(settings)]
    status = {
        "containers": containers or None,
        "initContainers": init_containers or None,
        "imagePullSecrets": None,
        "revision": settings.revision,
        "volumes": list(VOLUMES),
    }
    metadata = pod["metadata"] = pod.get("metadata") or {}
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        RECORD: write_record(record),
        STATUS: json.dumps(status, separators=(",", ":")),
        TOKEN_SECRET: token_secret(),
    }
    return pod


def _before(pod: Json, probes: tuple[RewrittenProbe, ...]) -> dict[str, dict[str, Json]]:
    """The probes that change, as they were."""
    before: dict[str, dict[str, Json]] = {}
    for kind in ("initContainers", "containers"):
        for container in containers_of(pod, kind):
            for probe in probes:
                if probe.container == container["name"]:
                    before.setdefault(probe.container, {})[probe.field] = container[probe.field]
    return before


def _remarks(pod: Json) -> tuple[Problem, ...]:
    """What works otherwise than the user may think."""
    found = []
    for number, container in enumerate(containers_of(pod)):
        for hook in ("postStart", "preStop"):
            action = (container.get("lifecycle") or {}).get(hook)
            if isinstance(action, dict) and action.get("httpGet"):
                message = f"the {hook} hook asks the application in plaintext, which STRICT mutual TLS refuses"
                fix = "Exclude its port with traffic.sidecar.istio.io/excludeInboundPorts, or use exec."
                field = f"spec.containers[{number}].lifecycle.{hook}.httpGet"
                code = ProblemCode.NOT_IMPLEMENTED
                found.append(Problem(severity=Severity.WARNING, code=code, message=message, fix=fix, field=field))
    return tuple(found)


def _workload_of(pod: Json) -> str:
    metadata = pod.get("metadata") or {}
    owners = metadata.get("ownerReferences")
    for owner in owners if isinstance(owners, list) else ():
        if isinstance(owner, dict) and owner.get("controller") and isinstance(owner.get("name"), str):
            return owning_workload(str(owner.get("kind")), owner["name"], str(labels_of(pod).get(_TEMPLATE_HASH, "")))
    name = metadata.get("name") or metadata.get("generateName") or ""
    return name.removesuffix("-") if isinstance(name, str) else ""
