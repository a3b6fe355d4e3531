"""Checks of the mesh's authority: one for all revisions, and its roots wherever sidecars are. The keys are not used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from heddle.cluster.apply import installed_revisions
from heddle.cluster.check_results import Result, State, failed, ok, warning
from heddle.cluster.installation_checks import LOGS, check_roots, decoded
from heddle.cluster.names import (
    AUTHORITY_SECRET,
    INSTALLED,
    MUTATING,
    ROOT_CONFIG_MAP,
    ROOT_KEY,
    VALIDATING,
    injector_name,
    labels_of,
    validator_name,
)
from heddle.cluster.requests import ClusterApi, find, find_all
from heddle.cluster.revision_settings import asks_for_sidecars
from injector.settings import REVISION, InjectionSettings

if TYPE_CHECKING:
    from sources.kubernetes.events import Json

_IDENTITY: Final = "identity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What somebody takes for the mesh's authority. `whose` names it; `roots` are its certificates in DER, at least
    one. `revision` is '' for the Secret, by which the next replica that starts goes.
    """

    whose: str
    revision: str
    roots: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """Those that can be seen, and of what cannot be seen a line."""

    found: tuple[Authority, ...]
    unseen: tuple[Result, ...]


async def find_authorities(api: ClusterApi, *, namespace: str, revisions: Sequence[str]) -> Authorities:
    """Of each revision, by what it keeps in the `caBundle` of its webhooks, and of the Secret.

    Where those of one revision differ it has several. Raises Unreachable, Garbled.
    """
    from sources.kubernetes.api import Refused

    found: list[Authority] = []
    unseen: list[Result] = []
    for revision in revisions:
        for resource, name in ((MUTATING, injector_name(revision)), (VALIDATING, validator_name(revision))):
            try:
                item = await find(api, f"{resource.path('v1')}/{name}")
            except Refused as error:
                unseen.append(_unseen(f"{revision}'s authority can be seen", error))
                continue
            found += [
                Authority(whose=f"{revision} ({name})", revision=revision, roots=roots)
                for bundle in sorted(_bundles(item))
                if (roots := _certificates(decoded(bundle)))
            ]
    try:
        secret = await find(api, f"/api/v1/namespaces/{namespace}/secrets/{AUTHORITY_SECRET}")
    except Refused:
        # Nobody needs the right to read the mesh's key for a check; that it is there is looked at besides.
        secret = None
    if roots := _certificates(decoded(str(((secret or {}).get("data") or {}).get(ROOT_KEY, "")))):
        found.append(Authority(whose=f"Secret {AUTHORITY_SECRET}", revision="", roots=roots))
    return Authorities(found=tuple(found), unseen=tuple(unseen))


async def check_key(api: ClusterApi, *, namespace: str, revision: str) -> Sequence[Result]:
    """Whether the authority's key is kept."""
    check = "the authority's key is kept"
    secret = await find(api, f"/api/v1/namespaces/{namespace}/secrets/{AUTHORITY_SECRET}", metadata_only=True)
    if secret is None:
        hint = f"The control plane makes it: {LOGS.format(namespace=namespace, revision=revision)}"
        return (failed(_IDENTITY, check, f"there is no Secret {AUTHORITY_SECRET} in {namespace}", hint),)
    return (ok(_IDENTITY, check, f"Secret {AUTHORITY_SECRET} in {namespace}"),)


async def check_identity(
    api: ClusterApi,
    *,
    namespace: str,
    revision: str,
    settings: Sequence[InjectionSettings],
    authorities: Sequence[Authority],
    now: datetime,
) -> Sequence[Result]:
    """The roots wherever sidecars are, which must be those of every revision. `settings` are the revisions'."""
    hint = f"The control plane makes it: {LOGS.format(namespace=namespace, revision=revision)}"
    results: list[Result] = []
    known: dict[str, list[str]] = {}
    for item in await find_all(api, INSTALLED["Namespace"]):
        name = item["metadata"]["name"]
        if item["metadata"].get("deletionTimestamp") or not asks_for_sidecars(name, labels_of(item), settings):
            continue
        held = await find(api, f"/api/v1/namespaces/{name}/configmaps/{ROOT_CONFIG_MAP}")
        text = str(((held or {}).get("data") or {}).get(ROOT_KEY, ""))
        check = f"{name} has the mesh's roots"
        if not text:
            absent = f"there is no ConfigMap {ROOT_CONFIG_MAP} with {ROOT_KEY}"
            results.append(failed(_IDENTITY, check, absent, hint))
            continue
        result = check_roots(_IDENTITY, check, text.encode(), now, hint)
        if result.state is not State.FAILED:
            result = _compare(check, _certificates(text.encode()), authorities, namespace) or result
        results.append(result)
        known.setdefault(text, []).append(name)
    if len(known) > 1:
        fewest = min(known.values(), key=len)
        detail = f"{', '.join(sorted(fewest))} differ from the others"
        results.append(failed(_IDENTITY, "the roots are the same everywhere", detail, hint))
    return results


async def check_authorities(api: ClusterApi, *, namespace: str, authorities: Authorities) -> Sequence[Result]:
    """Whether all revisions have the same authority, and are where they find the same key: two leaders with a key each
    overwrite the roots.
    """
    check = "all revisions share one authority"
    results: list[Result] = []
    for one, other in combinations(_distinct(authorities.found), 2):
        if one.roots.isdisjoint(other.roots):
            detail = f"{one.whose} has other roots than {other.whose}"
            results.append(failed(_IDENTITY, check, detail, _fix(namespace, authorities.found)))
    found = await installed_revisions(api)
    if len(found) > 1:
        places = "; ".join(f"{', '.join(revisions)} in {place}" for place, revisions in found.items())
        hint = f"They overwrite each other's roots ({ROOT_CONFIG_MAP}): uninstall those of all namespaces but one."
        results.append(failed(_IDENTITY, check, places, hint))
    return (*results, *authorities.unseen) or (ok(_IDENTITY, check),)


def _compare(check: str, held: frozenset[bytes], authorities: Sequence[Authority], namespace: str) -> Result | None:
    """None if the roots are those of all authorities."""
    hint = _fix(namespace, authorities)
    without = [each.whose for each in authorities if held.isdisjoint(each.roots)]
    if without:
        detail = f"its ConfigMap {ROOT_CONFIG_MAP} has other roots than {', '.join(without)}"
        return failed(_IDENTITY, check, detail, hint)
    partly = [each.whose for each in authorities if not each.roots <= held]
    if partly:
        detail = f"its ConfigMap {ROOT_CONFIG_MAP} lacks some roots of {', '.join(partly)}"
        return warning(_IDENTITY, check, detail, hint)
    return None


def _fix(namespace: str, authorities: Iterable[Authority]) -> str:
    revisions = sorted({each.revision for each in authorities} - {""}) or [REVISION]
    restart = f"kubectl rollout restart -n {namespace} {' '.join(f'deploy/{name}' for name in revisions)}"
    return (
        f"Sidecars trust the one and not the other. Put the former Secret {AUTHORITY_SECRET} back and {restart}; "
        "without a backup, only the latter, and then restart every pod with a sidecar (docs/operations.md, Restore)."
    )


def _distinct(authorities: Iterable[Authority]) -> Sequence[Authority]:
    """Whoever has the same roots is one, with all their names."""
    whose: dict[frozenset[bytes], list[Authority]] = {}
    for each in authorities:
        whose.setdefault(each.roots, []).append(each)
    return [
        Authority(whose=", ".join(each.whose for each in same), revision=same[0].revision, roots=roots)
        for roots, same in whose.items()
    ]


def _bundles(item: Json | None) -> set[str]:
    hooks = (item or {}).get("webhooks") or ()
    return {str((hook.get("clientConfig") or {}).get("caBundle") or "") for hook in hooks} - {""}


def _certificates(pem: bytes) -> frozenset[bytes]:
    """None where they cannot be read, which others say."""
    try:
        return frozenset(each.public_bytes(Encoding.DER) for each in x509.load_pem_x509_certificates(pem))
    except ValueError:
        return frozenset()


def _unseen(check: str, error: Exception) -> Result:
    return warning(_IDENTITY, check, str(error), "Ask as somebody who may read it.")
