"""The trust domain that an installation's settings ask for, and the one that its authority is of: they must agree."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from cryptography import x509

from heddle.cluster.chart import MANAGER
from heddle.cluster.check_results import Result, failed, ok, warning
from heddle.cluster.names import (
    AUTHORITY_SECRET,
    MANAGED_BY,
    REVISION_OF,
    ROOT_CONFIG_MAP,
    ROOT_KEY,
    labels_of,
)
from heddle.cluster.requests import ClusterApi, find
from model.identity import DEFAULT_TRUST_DOMAIN
from model.problems import ObjectRef
from sds.authority import trust_domain_of

if TYPE_CHECKING:
    from sources.kubernetes.events import Json

_SECTION: Final = "identity"
_CHECK: Final = "the settings are of the authority's trust domain"
_FORBIDDEN: Final = 403


class OtherTrustDomain(ValueError):
    """The settings ask for another trust domain than the authority's. Nothing was written."""


async def refuse_other_trust_domain(api: ClusterApi, objects: Sequence[Json], *, namespace: str, revision: str) -> None:
    """Compares what is to be applied with the Secret; with the running settings if that may not be read.

    Raises OtherTrustDomain, and what `ClusterApi` raises.
    """
    place = _settings_of(next(item for item in objects if item["kind"] == "Deployment"))
    asked = await _asked_by(api, objects, place, revision)
    if asked is None:
        return
    held, holder = await _held_domain(api, namespace, revision)
    if held in ("", asked):
        return
    raise OtherTrustDomain(
        f"the settings ask for the trust domain {asked!r} (value meshConfig.mesh.trustDomain, ConfigMap {place.name} "
        f"in {place.namespace}), but {holder}: no replica would start. {_fix(held, namespace, revision)}; nothing was "
        "changed"
    )


async def check_trust_domain(api: ClusterApi, *, namespace: str, revision: str) -> Sequence[Result]:
    """Whether the next replica that starts will take the authority. The key is not read: the roots say it too."""
    deployment = await find(api, f"/apis/apps/v1/namespaces/{namespace}/deployments/{revision}")
    roots = await find(api, f"/api/v1/namespaces/{namespace}/configmaps/{ROOT_CONFIG_MAP}")
    held = _domain_of(str(((roots or {}).get("data") or {}).get(ROOT_KEY, "")).encode())
    if deployment is None or not held:
        # Other checks say so.
        return ()
    place = _settings_of(deployment)
    asked = _domain_in(await find(api, _path(place)))
    if asked == held:
        return (ok(_SECTION, _CHECK, held),)
    if asked is None:
        where = f"ConfigMap {place.name} in {place.namespace}"
        return (warning(_SECTION, _CHECK, f"the settings cannot be read ({where})", "heddle status --kubernetes"),)
    detail = (
        f"ConfigMap {place.name} in {place.namespace} asks for {asked!r}, the authority is of {held!r}: "
        "the next replica that starts will not"
    )
    return (failed(_SECTION, _CHECK, detail, f"{_fix(held, namespace, revision)}."),)


def _fix(held: str, namespace: str, revision: str) -> str:
    return (
        f"Set trustDomain: {held} there; or, for another mesh, kubectl delete secret {AUTHORITY_SECRET} "
        f"-n {namespace}, install, kubectl rollout restart -n {namespace} deploy/{revision}, and start every pod with "
        "a sidecar again"
    )


def _settings_of(deployment: Json) -> ObjectRef:
    """The ConfigMap that a Deployment's replicas have their settings from."""
    arguments: list[str] = deployment["spec"]["template"]["spec"]["containers"][0].get("args") or []
    named = next((value for option, value in pairwise(arguments) if option == "--mesh-config"), "istio-system/istio")
    namespace, _, name = named.partition("/")
    return ObjectRef(kind="ConfigMap", namespace=namespace, name=name)


async def _asked_by(api: ClusterApi, objects: Sequence[Json], place: ObjectRef, revision: str) -> str | None:
    """None if it cannot be told."""
    from sources.kubernetes.api import Refused

    for item in objects:
        metadata = item["metadata"]
        if (item["kind"], metadata.get("namespace"), metadata["name"]) == ("ConfigMap", place.namespace, place.name):
            return _domain_in(item)
    try:
        found = await find(api, _path(place))
    except Refused as error:
        if error.refusal.code == _FORBIDDEN:
            return None
        raise
    labels = labels_of(found or {})
    if (labels.get(MANAGED_BY), labels.get(REVISION_OF)) == (MANAGER, revision):
        # It goes, as the values have none any more.
        return DEFAULT_TRUST_DOMAIN
    return _domain_in(found)


async def _held_domain(api: ClusterApi, namespace: str, revision: str) -> tuple[str, str]:
    """The authority's, '' if there is none yet, and who says so."""
    from sources.kubernetes.api import Refused

    try:
        secret = await find(api, f"/api/v1/namespaces/{namespace}/secrets/{AUTHORITY_SECRET}")
    except Refused as error:
        if error.refusal.code != _FORBIDDEN:
            raise
    else:
        held = _domain_of(_decoded(((secret or {}).get("data") or {}).get(ROOT_KEY, "")))
        return held, f"Secret {AUTHORITY_SECRET} in {namespace} holds the authority of {held!r}"
    deployment = await find(api, f"/apis/apps/v1/namespaces/{namespace}/deployments/{revision}")
    if deployment is None:
        return "", ""
    place = _settings_of(deployment)
    held = _domain_in(await find(api, _path(place))) or ""
    return held, f"what runs is of {held!r} (ConfigMap {place.name} in {place.namespace})"


def _domain_in(config_map: Json | None) -> str | None:
    """What a ConfigMap asks for; the default if there is none, None if it cannot be read."""
    from heddle.cluster.mesh_values import read_mesh_config

    text = ((config_map or {}).get("data") or {}).get("mesh")
    if text is None:
        return DEFAULT_TRUST_DOMAIN
    settings, _ = read_mesh_config(str(text))
    return settings.trust_domain if settings is not None else None


def _domain_of(pem: bytes) -> str:
    """That of a root; '' if it is none, which is for others to say."""
    try:
        return trust_domain_of(x509.load_pem_x509_certificate(pem))
    except ValueError:
        return ""


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError:
        return b""


def _path(place: ObjectRef) -> str:
    return f"/api/v1/namespaces/{place.namespace}/configmaps/{place.name}"
