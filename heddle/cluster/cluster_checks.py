"""Checks of the cluster: what an installation needs of it. Each answers its results; none changes anything."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from heddle.cluster.check_results import Result, failed, ok, warning
from heddle.cluster.names import (
    DEFINITIONS,
    HEDDLE,
    INSTALLED,
    MUTATING,
    NAME,
    PART_OF,
    labels_of,
)
from heddle.cluster.requests import ClusterApi, create, find, find_all, read
from heddle.cluster.revision_settings import RevisionSettings, asks_for_sidecars
from injector.settings import InjectionSettings
from model.pods import INJECTED, is_gateway
from sources.kubernetes.resources import Resource, Scope, definition_of, resources_in

OLDEST: Final = (1, 30)
"""Native sidecars and the kubelet's own `sleep` (ADR 12)."""

ENFORCE: Final = "pod-security.kubernetes.io/enforce"
_SKEW: Final = timedelta(seconds=30)
_BACKDATED: Final = timedelta(minutes=2)
"""How far certificates are dated back: more apart than that, and a new one is not valid yet."""

_MISSING: Final = "heddle install --crds-only --apply"

_API, _KINDS, _SECURITY, _WEBHOOKS = "kubernetes", "kinds", "pod-security", "other-webhooks"
_SETTINGS: Final = "settings"


async def check_api(api: ClusterApi, now: datetime) -> Sequence[Result]:
    """Version and clock. Raises what `ClusterApi` raises: without an answer there is nothing to check."""
    version = await read(api, "/version")
    said = str(version.get("gitVersion", "unknown"))
    number = re.match(r"v?([0-9]+)\.([0-9]+)", said)
    results = [ok(_API, "the API server answers", api.name)]
    needed = ".".join(map(str, OLDEST))
    if number is None or (int(number[1]), int(number[2])) < OLDEST:
        hint = f"Heddle needs Kubernetes {needed} or later: sidecars are native ones, which older ones do not start."
        results.append(failed(_API, "its version will do", said, hint))
    else:
        results.append(ok(_API, "its version will do", said))
    return (*results, await _check_clock(api, now))


async def _check_clock(api: ClusterApi, now: datetime) -> Result:
    check = "its clock agrees with this one"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    review = await create(api, "/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
    try:
        theirs = datetime.fromisoformat(review["metadata"]["creationTimestamp"])
    except (KeyError, TypeError, ValueError):
        return warning(_API, check, "the API server does not say what time it is", "Compare by hand.")
    apart = abs(theirs - now)
    detail = f"{apart.total_seconds():.0f} s apart"
    hint = "Certificates are dated by clocks: synchronize them (NTP)."
    if apart > _BACKDATED:
        return failed(_API, check, detail, hint)
    return warning(_API, check, detail, hint) if apart > _SKEW else ok(_API, check)


async def check_kinds(api: ClusterApi, *, installed: bool) -> Sequence[Result]:
    """The CustomResourceDefinitions, Istio's or ours. Before an installation none need be there."""
    results = []
    for resource in resources_in(Scope()):
        if not resource.custom:
            continue
        name = definition_of(resource)
        check = f"{name} is known"
        held = await find(api, f"{DEFINITIONS.path('v1')}/{name}")
        if held is None:
            if installed:
                results.append(failed(_KINDS, check, "there is no such definition", _MISSING))
            else:
                results.append(ok(_KINDS, f"{name} can be installed"))
            continue
        whose = "Heddle's" if labels_of(held).get(NAME) == HEDDLE else "not Heddle's, and left as it is"
        served = [version["name"] for version in held["spec"]["versions"] if version["served"]]
        if set(served) & set(resource.versions):
            results.append(ok(_KINDS, check, f"{', '.join(served)}; {whose}"))
        else:
            hint = f"Heddle reads {', '.join(resource.versions)}: upgrade the definition."
            results.append(failed(_KINDS, check, f"it serves {', '.join(served) or 'nothing'}; {whose}", hint))
    return results


def check_settings(revisions: Sequence[RevisionSettings]) -> Sequence[Result]:
    """Whether one knows what the revisions decide: other checks go by it, and else by the defaults."""
    results = []
    for each in revisions:
        check = f"the settings of {each.injection.revision} are known"
        if each.trouble:
            hint = "Correct it, or ask as somebody who may read it; what is not known is taken to be the default."
            results.append(warning(_SETTINGS, check, each.trouble, hint))
        elif each.installed:
            results.append(ok(_SETTINGS, check))
    return results


async def check_pod_security(
    api: ClusterApi, *, namespace: str, settings: Sequence[InjectionSettings]
) -> Sequence[Result]:
    """Heddle's own namespace should enforce `restricted`; those with sidecars must allow what sets the capture up.

    `settings` are those of the revisions.
    """
    found = {one["metadata"]["name"]: labels_of(one) for one in await find_all(api, INSTALLED["Namespace"])}
    results = []
    own = found.get(namespace)
    if own is not None and own.get(ENFORCE) != "restricted":
        hint = f"kubectl label namespace {namespace} {ENFORCE}=restricted --overwrite"
        detail = own.get(ENFORCE, "nothing")
        results.append(warning(_SECURITY, f"{namespace} enforces restricted", f"it enforces {detail}", hint))
    elif own is not None:
        results.append(ok(_SECURITY, f"{namespace} enforces restricted"))
    for name, labels in sorted(found.items()):
        if not asks_for_sidecars(name, labels, settings):
            continue
        check = f"{name} lets its pods' traffic be captured"
        enforced = labels.get(ENFORCE, "privileged")
        if enforced == "privileged":
            results.append(ok(_SECURITY, check))
        elif await _has_only_gateways(api, name):
            results.append(ok(_SECURITY, check, f"gateways are all there is, and run under {enforced}"))
        else:
            hint = (
                f"istio-init needs NET_ADMIN and NET_RAW, which only privileged allows: kubectl label namespace {name} "
                f"{ENFORCE}=privileged --overwrite (docs/install.md says what else there is)"
            )
            results.append(failed(_SECURITY, check, f"it enforces {enforced}", hint))
    return results


async def _has_only_gateways(api: ClusterApi, namespace: str) -> bool:
    """Whether gateways are what is injected there, and nothing else: they capture nothing."""
    pods = await find_all(api, Resource(kind="Pod", plural="pods", namespace=namespace))
    every = [pod["metadata"].get("annotations") or {} for pod in pods]
    injected = [annotations for annotations in every if INJECTED in annotations]
    return bool(injected) and all(map(is_gateway, injected))


async def check_other_webhooks(api: ClusterApi) -> Sequence[Result]:
    """Whoever else changes pods."""
    results: list[Result] = []
    defaults: list[str] = []
    istios: list[str] = []
    takes_over = ""
    for item in await find_all(api, MUTATING):
        name = item["metadata"]["name"]
        hooks = [hook["name"] for hook in item.get("webhooks") or ()]
        if labels_of(item).get(PART_OF) == HEDDLE:
            defaults += [name] if "namespace.injector.heddle.io" in hooks else []
            takes_over = name if "istio.namespace.injector.heddle.io" in hooks else takes_over
        elif any(hook.endswith("sidecar-injector.istio.io") for hook in hooks):
            istios.append(name)
    check = "one revision answers to heddle.io/inject"
    if len(defaults) > 1:
        hint = "Upgrade all but one of them with isDefault: false."
        results.append(failed(_WEBHOOKS, check, ", ".join(sorted(defaults)), hint))
    else:
        results.append(ok(_WEBHOOKS, check))
    check = "no other mesh injects the same pods"
    if istios and takes_over:
        hint = "Turn injection.takeOverIstioInjection off, or uninstall Istio's injector."
        results.append(failed(_WEBHOOKS, check, f"{takes_over} and {', '.join(istios)} do", hint))
    else:
        results.append(ok(_WEBHOOKS, check, f"Istio is here too ({', '.join(istios)})" if istios else ""))
    return results
