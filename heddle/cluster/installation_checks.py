"""Checks of an installation: whether it works, and for how long. Each answers its results; none changes anything."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509

from heddle.cluster.apply import missing_namespaces
from heddle.cluster.check_results import Result, failed, ok, warning
from heddle.cluster.names import (
    LEADER_LEASE,
    MUTATING,
    REVISION_OF,
    VALIDATING,
    injector_name,
    labels_of,
    validator_name,
)
from heddle.cluster.requests import ClusterApi, find, find_all
from heddle.cluster.rollout import pod_waits, rollout_waits
from sources.kubernetes.resources import Resource

if TYPE_CHECKING:
    from sources.kubernetes.events import Json

_CONTROL_PLANE, _WEBHOOKS, _LEADER = "control-plane", "webhooks", "leader"
_SOON: Final = timedelta(days=30)
LOGS: Final = "kubectl logs -n {namespace} deploy/{revision}"
"""Where a revision says why something lacks that it makes."""


async def check_control_plane(api: ClusterApi, *, namespace: str, revision: str, version: str) -> Sequence[Result]:
    """Its Deployment and its pods."""
    check = f"{revision} runs"
    deployment = await find(api, f"/apis/apps/v1/namespaces/{namespace}/deployments/{revision}")
    if deployment is None:
        hint = "heddle install --apply --wait, or name the namespace with -n and the version with --revision."
        return (failed(_CONTROL_PLANE, check, f"there is no Deployment {revision} in {namespace}", hint),)
    waits = rollout_waits(deployment)
    if waits:
        pods = Resource(kind="Pod", plural="pods", namespace=namespace)
        waits += pod_waits(await find_all(api, pods, labels=f"{REVISION_OF}={revision}"))
        hint = LOGS.format(namespace=namespace, revision=revision)
        return (failed(_CONTROL_PLANE, check, "; ".join(waits), hint),)
    replicas = deployment["spec"].get("replicas", 1)
    if replicas < 1:
        hint = f"kubectl scale -n {namespace} deploy/{revision} --replicas=2, or heddle install --apply --wait."
        return (failed(_CONTROL_PLANE, check, "no replica runs: it is scaled to 0", hint),)
    results = [ok(_CONTROL_PLANE, check, f"{replicas} of {replicas} replicas are ready")]
    results += await _check_secret_namespaces(api, deployment)
    running = labels_of(deployment).get("app.kubernetes.io/version", "unknown")
    check = "it is the version of this command"
    if running == version:
        results.append(ok(_CONTROL_PLANE, check, version))
    else:
        hint = "heddle install --apply --wait upgrades it."
        results.append(warning(_CONTROL_PLANE, check, f"{running}, and this is {version}", hint))
    if replicas < 2:
        hint = "With one, new pods cannot start while it is moved: replicas: 2."
        results.append(warning(_CONTROL_PLANE, "there is more than one", "one replica", hint))
    return results


async def _check_secret_namespaces(api: ClusterApi, deployment: Json) -> Sequence[Result]:
    """Whether the namespaces are there in which the control plane is to look for gateways' Secrets."""
    arguments: list[str] = deployment["spec"]["template"]["spec"]["containers"][0].get("args") or []
    named = [value for option, value in pairwise(arguments) if option == "--secrets-of"]
    if not named:
        return ()
    check = "the namespaces of gateways' Secrets exist"
    missing = await missing_namespaces(api, named)
    if not missing:
        return (ok(_CONTROL_PLANE, check, ", ".join(named)),)
    hint = (
        f"kubectl create namespace {missing[0]} and install again (the Role in it went with it), or take it out of the "
        "value gatewaySecretNamespaces."
    )
    return (failed(_CONTROL_PLANE, check, f"there is no {', '.join(missing)}", hint),)


async def check_webhooks(api: ClusterApi, *, namespace: str, revision: str, now: datetime) -> Sequence[Result]:
    """Whether the API server can trust them."""
    results = []
    hint = f"The control plane fills it in: {LOGS.format(namespace=namespace, revision=revision)}"
    for resource, name, needed in (
        (MUTATING, injector_name(revision), True),
        (VALIDATING, validator_name(revision), False),
    ):
        found = await find(api, f"{resource.path('v1')}/{name}")
        check = f"{name} is trusted"
        if found is None:
            if needed:
                absent = f"there is no {resource.kind} {name}"
                results.append(failed(_WEBHOOKS, check, absent, "heddle install --apply --wait"))
            continue
        bundles = {hook["clientConfig"].get("caBundle", "") for hook in found.get("webhooks") or ()}
        if "" in bundles:
            results.append(failed(_WEBHOOKS, check, "a caBundle is empty", hint))
        elif len(bundles) > 1:
            results.append(failed(_WEBHOOKS, check, "its caBundles differ", hint))
        else:
            results += [check_roots(_WEBHOOKS, check, decoded(bundle), now, hint) for bundle in bundles]
    return results


def check_roots(section: str, check: str, pem: bytes, now: datetime, hint: str) -> Result:
    """Whether certificates can be read, and how long they live."""
    try:
        roots = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return failed(section, check, "what is there are no certificates", hint)
    left = max(root.not_valid_after_utc for root in roots) - now
    if left <= timedelta(0):
        return failed(section, check, "the certificates are expired", hint)
    if left < _SOON:
        return warning(section, check, f"the certificates end in {left.days} days", hint)
    return ok(section, check, f"{left.days} days left")


async def check_leader(api: ClusterApi, *, namespace: str, revision: str, now: datetime) -> Sequence[Result]:
    """Whether somebody writes."""
    check = "one replica writes"
    lease = await find(api, f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEADER_LEASE}")
    hint = f"Status, roots and rotation wait for it: {LOGS.format(namespace=namespace, revision=revision)}"
    spec: dict[str, Any] = (lease or {}).get("spec") or {}
    holder = spec.get("holderIdentity")
    if not holder:
        return (failed(_LEADER, check, f"nobody holds the Lease {LEADER_LEASE} in {namespace}", hint),)
    return (_check_lease(check, str(holder), spec, now, hint),)


def _check_lease(check: str, holder: str, spec: Json, now: datetime, hint: str) -> Result:
    try:
        renewed = datetime.fromisoformat(spec["renewTime"])
        ends = renewed + timedelta(seconds=int(spec["leaseDurationSeconds"]))
    except (KeyError, TypeError, ValueError):
        return failed(_LEADER, check, f"{holder} holds the Lease, which does not say until when", hint)
    if ends < now:
        ago = (now - renewed).total_seconds()
        return failed(_LEADER, check, f"{holder} renewed the Lease {ago:.0f} s ago", hint)
    return ok(_LEADER, check, holder)


def decoded(bundle: str) -> bytes:
    """What a `caBundle` holds, or a Secret's text; b"" where that is no base64."""
    try:
        return base64.b64decode(bundle, validate=True)
    except ValueError:
        return b""
