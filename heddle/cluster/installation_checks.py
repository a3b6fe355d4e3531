"""Checks of an installation: whether it works, and for how long. Each answers its results; none changes anything."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509

from heddle.cluster.apply import installed_revisions, missing_namespaces
from heddle.cluster.check_results import Result, failed, ok, warning
from heddle.cluster.cluster_checks import asks_for_sidecars
from heddle.cluster.names import (
    AUTHORITY_SECRET,
    INSTALLED,
    LEADER_LEASE,
    MUTATING,
    REVISION_OF,
    ROOT_CONFIG_MAP,
    ROOT_KEY,
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

_CONTROL_PLANE, _WEBHOOKS, _IDENTITY, _LEADER = "control-plane", "webhooks", "identity", "leader"
_SOON: Final = timedelta(days=30)
_LOGS: Final = "kubectl logs -n {namespace} deploy/{revision}"


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
        hint = _LOGS.format(namespace=namespace, revision=revision)
        return (failed(_CONTROL_PLANE, check, "; ".join(waits), hint),)
    replicas = deployment["spec"].get("replicas", 1)
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
    hint = f"The control plane fills it in: {_LOGS.format(namespace=namespace, revision=revision)}"
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
            results += [check_roots(_WEBHOOKS, check, _decoded(bundle), now, hint) for bundle in bundles]
    return results


async def check_identity(api: ClusterApi, *, namespace: str, revision: str, now: datetime) -> Sequence[Result]:
    """The authority's key, and its roots wherever sidecars are. The key itself is not read."""
    hint = f"The control plane makes it: {_LOGS.format(namespace=namespace, revision=revision)}"
    check = "the authority's key is kept"
    secret = await find(api, f"/api/v1/namespaces/{namespace}/secrets/{AUTHORITY_SECRET}", metadata_only=True)
    if secret is None:
        results = [failed(_IDENTITY, check, f"there is no Secret {AUTHORITY_SECRET} in {namespace}", hint)]
    else:
        results = [ok(_IDENTITY, check, f"Secret {AUTHORITY_SECRET} in {namespace}")]
    known: dict[str, list[str]] = {}
    for item in await find_all(api, INSTALLED["Namespace"]):
        name = item["metadata"]["name"]
        if not asks_for_sidecars(name, labels_of(item), namespace=namespace, revision=revision):
            continue
        held = await find(api, f"/api/v1/namespaces/{name}/configmaps/{ROOT_CONFIG_MAP}")
        text = str(((held or {}).get("data") or {}).get(ROOT_KEY, ""))
        check = f"{name} has the mesh's roots"
        if not text:
            absent = f"there is no ConfigMap {ROOT_CONFIG_MAP} with {ROOT_KEY}"
            results.append(failed(_IDENTITY, check, absent, hint))
        else:
            results.append(check_roots(_IDENTITY, check, text.encode(), now, hint))
            known.setdefault(text, []).append(name)
    if len(known) > 1:
        fewest = min(known.values(), key=len)
        detail = f"{', '.join(sorted(fewest))} differ from the others"
        results.append(failed(_IDENTITY, "the roots are the same everywhere", detail, hint))
    return results


async def check_authorities(api: ClusterApi) -> Sequence[Result]:
    """Whether all revisions are where they find the same key: two leaders with a key each overwrite the roots."""
    check = "all revisions share one authority"
    found = await installed_revisions(api)
    if len(found) < 2:
        return (ok(_IDENTITY, check),)
    places = "; ".join(f"{', '.join(revisions)} in {place}" for place, revisions in found.items())
    hint = f"They overwrite each other's roots ({ROOT_CONFIG_MAP}): uninstall those of all namespaces but one."
    return (failed(_IDENTITY, check, places, hint),)


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
    hint = f"Status, roots and rotation wait for it: {_LOGS.format(namespace=namespace, revision=revision)}"
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


def _decoded(bundle: str) -> bytes:
    try:
        return base64.b64decode(bundle, validate=True)
    except ValueError:
        return b""
